package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/archive"
)

// whole reads an export as import does before it stores anything.
func (s *shop) whole(name string) error {
	f, err := os.Open(s.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := archive.Open(bufio.NewReader(f), []byte(shopPassphrase))
	if err != nil {
		return err
	}
	_, err = vault.Verify(s.Context(), r, func(int64) {})
	return err
}

// TestExportKilled: an export that is killed leaves nothing under its name, and
// what it leaves is refused. It is killed as often as it takes to meet it while
// it writes.
func TestExportKilled(t *testing.T) {
	s := newShop(t)
	for try := 0; ; try++ {
		name := fmt.Sprintf("v%d.export", try)
		s.killed(func() bool { return len(s.begin(name)) > 0 }, "export", "--file", name, "--passphrase-file", "pass")
		left := s.begin(name)
		if slices.Contains(left, name) {
			if err := s.whole(name); err != nil {
				t.Fatalf("there is an export that is none: %v", err)
			}
			continue
		}
		if len(left) != 1 || !strings.HasPrefix(left[0], name+".partial-") {
			t.Fatalf("it left %q", left)
		}
		if s.whole(left[0]) == nil {
			continue // killed between its end and its name
		}
		s.ok("export", "--file", name, "--passphrase-file", "pass")
		if err := os.Remove(s.path("tapvault.db")); err != nil {
			t.Fatal(err)
		}
		s.refused("is no", "import", "--file", left[0], "--passphrase-file", "pass")
		s.ok("import", "--file", name, "--passphrase-file", "pass")
		return
	}
}

// TestInitKilled: whoever finds a configuration finds what it names.
func TestInitKilled(t *testing.T) {
	for {
		s := &shop{T: t, dir: t.TempDir()}
		if !s.killed(func() bool { return len(s.begin("softhsm")) > 0 && len(s.begin("tapvault.yaml")) > 0 }, "init", ".") {
			continue // it was over before
		}
		if left := s.begin("tapvault.yaml"); slices.Contains(left, "tapvault.yaml") {
			t.Errorf("there is a configuration: %q", left)
		}
		s.refused("holds files already", "init", ".")
		s.refused("reading configuration", "serve", "--config", "tapvault.yaml")
		return
	}
}
