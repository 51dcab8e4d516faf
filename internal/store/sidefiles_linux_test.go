package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/internal/store"
)

// asSomebody calls f as a user to whom dir is given, and who may not write all that
// root may. Its thread ends with it.
func asSomebody(t *testing.T, dir string, f func() error) (err error) {
	t.Helper()
	if os.Geteuid() != 0 {
		return f()
	}
	const somebody = 65534
	all := []string{filepath.Dir(dir), dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, filepath.Join(dir, e.Name()))
	}
	for _, path := range all {
		if err := os.Chown(path, somebody, -1); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = unix.Setfsuid(somebody); err == nil {
			err = f()
		}
	}()
	<-done
	return err
}

// TestFilesThatTakeNoWrites: the file, or what stands beside it, may be closed to who
// runs the program; each is named, before a service or a command meets it.
func TestFilesThatTakeNoWrites(t *testing.T) {
	for name, x := range map[string]struct {
		closed string
		mode   os.FileMode
		says   string
	}{
		"nothing":    {"db", 0o600, ""},
		"the file":   {"db", 0o400, "/db"},
		"its -wal":   {"db-wal", 0o400, "/db-wal"},
		"its -shm":   {"db-shm", 0o400, "/db-shm"},
		"its folder": {".", 0o500, "/001"},
	} {
		t.Run(strings.ReplaceAll(name, " ", ""), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "db")
			made, err := store.Open(t.Context(), store.Config{DSN: path})
			if err == nil {
				err = errors.Join(made.Migrate(t.Context()), made.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			d, err := store.Open(t.Context(), store.Config{DSN: path, ReadOnly: true}) // as the doctor does
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			for _, side := range store.SideFiles(path) {
				err := os.Remove(side)
				if strings.HasPrefix(x.closed, "db-") {
					err = os.WriteFile(side, nil, 0o600)
				}
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(filepath.Join(dir, x.closed), x.mode); err != nil {
				t.Fatal(err)
			}
			err = asSomebody(t, dir, func() error { return d.Writable(t.Context()) })
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
			if x.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var named *fs.PathError
			if !errors.Is(err, store.ErrReadOnly) || !errors.As(err, &named) || !strings.HasSuffix(named.Path, x.says) {
				t.Errorf("got %v, want %s", err, x.says)
			}
		})
	}
}
