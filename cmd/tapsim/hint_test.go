package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/terminal"
)

// TestHints: a failure that has a remedy is told with it, after what went wrong.
func TestHints(t *testing.T) {
	made := t.TempDir()
	if err := os.WriteFile(filepath.Join(made, "tapvault.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(made, "exists.json")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		says string
		args []string
	}{
		{"`tapvault init DIR`", []string{"tap", "--dir", "nowhere"}},
		{"`tapvault init DIR`", []string{"card", "--dir", t.TempDir()}},
		{"not whole", []string{"tap", "--dir", made}},
	} {
		var out, said bytes.Buffer
		if run(t.Context(), x.args, &out, &said) == 0 || !strings.Contains(said.String(), "\ntapsim: hint: ") || !strings.Contains(said.String(), x.says) {
			t.Errorf("%v: %q does not say %q", x.args, said.String(), x.says)
		}
	}
	_, there := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o600)
	for _, x := range []struct {
		says string
		err  error
	}{
		{"tapvault serve", syscall.ECONNREFUSED},
		{"of one service", x509.UnknownAuthorityError{}},
		{"lower --amount", terminal.OverCap},
		{"another file", there},
		{"--bin", exec.Command(filepath.Join(made, "tapvault")).Start()},
		{"psam-user.pin", hsm.ErrPIN},
		{"setup.sh", hsm.ErrUnavailable},
		{"client list", &client.Error{Problem: wire.Problem{Type: "urn:tapvault:problem:unauthenticated"}}},
		{"", errors.New("something else")},
	} {
		if got := hintFor(fmt.Errorf("playing: %w", x.err)); !strings.Contains(got, x.says) || (x.says == "") != (got == "") {
			t.Errorf("%v: %q does not say %q", x.err, got, x.says)
		}
	}
}

// TestHintsAreOfProblems: every problem with advice is one that the service answers.
func TestHintsAreOfProblems(t *testing.T) {
	text, err := os.ReadFile("../../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind := range problems {
		if !strings.Contains(string(text), "| `"+kind+"` |") {
			t.Errorf("there is no problem %q", kind)
		}
	}
}
