package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/internal/cli"
)

// TestOneReaderInAFolder: a second run on one folder is told so before it touches the first
// one's queue, and may begin when that has ended.
func TestOneReaderInAFolder(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := client.New(client.Config{BaseURL: "https://127.0.0.1:1", ClientID: "terminal", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	one := &world{dir: dir, terminal: nowhere, zone: time.UTC, now: time.Now}
	if _, err := one.newReader(t.Context(), "reader", terminalID); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("the first: %v", err)
	}
	two := &world{dir: dir, terminal: nowhere, zone: time.UTC, now: time.Now}
	want := "another run uses " + filepath.Join(dir, "tapsim", "reader")
	if _, err := two.newReader(t.Context(), "reader", terminalID); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("beside it: %v", err)
	}
	if err := one.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := two.newReader(t.Context(), "reader", terminalID); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after it: %v", err)
	}
}

// TestOneDemoInAFolder: a second demo in one folder removes nothing of the first one's.
func TestOneDemoInAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	made := filepath.Join(dir, marker)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(made, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	leave, err := take(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	var out, said bytes.Buffer
	code := run(t.Context(), []string{"demo", "--bin", "false", "--dir", dir + "/"}, &out, &said)
	if code != cli.Misused || !strings.Contains(said.String(), "another run uses "+dir) {
		t.Errorf("exit %d, %s", code, said.String())
	}
	if _, err := os.Stat(made); err != nil {
		t.Errorf("the first one's folder: %v", err)
	}
}
