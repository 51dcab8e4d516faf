package main

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/tapvault/tapvault/audit/auditor"
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
