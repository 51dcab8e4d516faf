package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tapvault/tapvault/audit/auditor"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/store"
)

// TestHints: the advice is for what went wrong, and not for what it went wrong in.
func TestHints(t *testing.T) {
	for want, err := range map[string]error{
		"a newer program brought the database so far":   store.ErrSchema,
		"move audit.file and what begins with its name": auditor.ErrForked,
		"is the service started":                        syscall.ECONNREFUSED,
		"as the user who owns the files":                &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES},
	} {
		if got := hintFor(fmt.Errorf("doing it: %w", err)); !strings.Contains(got, want) {
			t.Errorf("%v: %q", err, got)
		}
	}
}

// TestTokenWithoutKey: who has no key beside the configuration is told which flag names it.
func TestTokenWithoutKey(t *testing.T) {
	dir := t.TempDir()
	var out, told strings.Builder
	args := []string{"client", "token", "--id", "bank", "--key", filepath.Join(dir, "bank.pem"), "--url", "https://localhost:1", "--ca", filepath.Join(dir, "ca.pem")}
	if code := run(t.Context(), args, strings.NewReader(""), &out, &told); code != cli.Failed || !strings.Contains(told.String(), "hint: --key names the file") {
		t.Errorf("exit %d: %s%s", code, out.String(), told.String())
	}
}
