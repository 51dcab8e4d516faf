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

// TestInitKilled: whoever finds a configuration finds what it names, and what an
// init left that was killed is in nobody's way.
func TestInitKilled(t *testing.T) {
	for {
		s := &shop{T: t, dir: t.TempDir()}
		if !s.killed(func() bool { return len(s.begin("softhsm")) > 0 && len(s.begin("tapvault.yaml")) > 0 }, "init", ".") {
			continue // it was over before
		}
		if left := s.begin("tapvault.yaml"); slices.Contains(left, "tapvault.yaml") {
			t.Errorf("there is a configuration: %q", left)
		}
		s.refused("reading configuration", "serve", "--config", "tapvault.yaml")
		s.foreign("letter.txt", "letter.txt is not of it")
		s.ok("init", ".")
		s.ok("check-config", "--config", "tapvault.yaml")
		if left := s.begin("tapvault.yaml."); len(left) > 0 {
			t.Errorf("init leaves %q", left)
		}
		s.refused("holds files already", "init", ".")
		return
	}
}

// foreign puts a file where an init was cut off: the next refuses, and removes
// nothing.
func (s *shop) foreign(name, why string) {
	s.Helper()
	before := len(s.begin(""))
	if err := os.WriteFile(s.path(name), nil, 0o600); err != nil {
		s.Fatal(err)
	}
	s.refused(why, "init", ".")
	if after := len(s.begin("")); after != before+1 {
		s.Errorf("%d names before, and then %d", before, after)
	}
	if err := os.Remove(s.path(name)); err != nil {
		s.Fatal(err)
	}
}

// TestTwoInits: of two in one folder, one makes it and the other leaves it alone.
func TestTwoInits(t *testing.T) {
	dir := t.TempDir()
	release, err := claim(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{T: t, dir: dir}
	s.refused("by another init", "init", ".")
	if err := release(); err != nil {
		t.Fatal(err)
	}
	s.ok("init", ".")
}
