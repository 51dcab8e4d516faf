package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/sim/chaos"
)

// TestEmpty: chaos removes what an earlier run of it left, and nothing else.
func TestEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chaos")
	if err := empty(dir); err != nil {
		t.Errorf("no folder: %v", err)
	}
	kept := filepath.Join(dir, "letter.txt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := empty(dir); err == nil {
		t.Error("somebody's folder was emptied")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "service-0.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := empty(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("an earlier run's folder is still there")
	}
}

// TestTake: one run at a time has a folder; another one is told before anything is removed.
func TestTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chaos")
	kept := filepath.Join(dir, "service-0.yaml")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "tapvault") // cannot be run
	if err := os.WriteFile(program, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	leave, err := take(dir)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := chaosCommand(&said, &said)
	c.SetArgs([]string{"--dir", dir, "--bin", program, "--faults", chaos.Names()[0]})
	c.SilenceUsage, c.SilenceErrors = true, true
	if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "another run uses "+dir) {
		t.Errorf("beside another run: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the other run's folder: %v", err)
	}
	leave()
	if leave, err = take(dir); err != nil {
		t.Errorf("after it: %v", err)
	} else {
		leave()
	}
}
