package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// names lists a folder.
func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.key")
	if err := Write(name, []byte("one")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if err := Write(name, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	if b, err := os.ReadFile(name); string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "b.key")); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "b.key"), []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("through a link: %v", err)
	}
	if err := Write(filepath.Join(dir, "no", "c.key"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into no folder: %v", err)
	}
	if got := names(t, dir); strings.Join(got, " ") != "a.key b.key" {
		t.Errorf("the folder holds %q", got)
	}
}

// TestWriteHere: a name without a folder is one of the working folder.
func TestWriteHere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(Write("a", nil), Replace("a", []byte("b"))); err != nil {
		t.Fatal(err)
	}
	if got := names(t, "."); strings.Join(got, " ") != "a" {
		t.Errorf("the folder holds %q", got)
	}
}

// TestLosesTheName: another file that came meanwhile stays, by each of the ways
// to give a name.
func TestLosesTheName(t *testing.T) {
	for way, give := range map[string]func(string, string) error{"rename": rename, "link": link} {
		dir := t.TempDir()
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		if err := errors.Join(os.WriteFile(from, []byte("new"), 0o600), os.WriteFile(to, []byte("old"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := give(from, to); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", way, err)
		}
		if b, err := os.ReadFile(to); string(b) != "old" {
			t.Errorf("%s: %q, %v", way, b, err)
		}
		if err := errors.Join(os.Remove(to), give(from, to)); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		if b, err := os.ReadFile(to); string(b) != "new" || len(names(t, dir)) != 1 {
			t.Errorf("%s: %q, %v", way, b, err)
		}
	}
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("committing: %v", err)
	}
	if got := names(t, dir); strings.Join(got, " ") != "x" {
		t.Errorf("the folder holds %q", got)
	}
}

func TestReplaceAndDiscard(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "list")
	for _, text := range []string{"one", "two"} {
		if err := Replace(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(name); string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	f, err := Create(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Discard(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); strings.Join(got, " ") != "list" {
		t.Errorf("the folder holds %q", got)
	}
}

// TestKilled: a writer that is killed leaves nothing under the name.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("DURABLE_TEST_DIR"); dir != "" {
		die(dir)
	}
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilled$")
	c.Env = append(os.Environ(), "DURABLE_TEST_DIR="+dir)
	if err := c.Run(); err == nil || c.ProcessState.Exited() {
		t.Fatalf("the writer was not killed: %v", err)
	}
	got := names(t, dir)
	if len(got) != 1 || !strings.HasPrefix(got[0], "export.partial-") {
		t.Fatalf("the folder holds %q", got)
	}
	if err := Write(filepath.Join(dir, "export"), []byte("whole")); err != nil {
		t.Errorf("again: %v", err)
	}
}

// die writes most of a file, and kills itself.
func die(dir string) {
	f, err := Create(filepath.Join(dir, "export"))
	if err == nil {
		_, err = f.Write(bytes.Repeat([]byte("x"), 1<<20))
	}
	self, _ := os.FindProcess(os.Getpid())
	if err == nil && self.Kill() == nil {
		select {}
	}
	os.Exit(3)
}
