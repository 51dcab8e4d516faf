package lab_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/store"
)

// TestBackupBesideAnothersWAL: a service that was killed, and whose file somebody put a
// back-up in the place of while its -wal stood there, does not go on with the mixture.
// With its own file it does, and has lost nothing.
func TestBackupBesideAnothersWAL(t *testing.T) {
	l := lab.New(t, lab.Options{})
	path := l.Config.Path(l.Config.Store.DSN)
	wal := path + "-wal"
	read := func(from string) []byte {
		t.Helper()
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	put := func(files map[string][]byte) {
		t.Helper()
		for to, b := range files {
			if err := os.WriteFile(to, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(path + "-shm"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	tokens := func(n int) (last string) {
		t.Helper()
		for range n {
			last = newToken(t, l, cardRequest()).Ref
		}
		return last
	}
	start := func() {
		t.Helper()
		if err := l.Start(t); err != nil {
			t.Fatal(err)
		}
	}
	l.Stop(t)
	backup := read(path)
	start()
	tokens(40)
	l.Stop(t) // and all is in the file
	start()
	last := tokens(40)
	killed := map[string][]byte{path: read(path), wal: read(wal)}
	l.Stop(t)

	put(map[string][]byte{path: backup, wal: killed[wal]})
	if err := l.Start(t); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "move away") {
		t.Fatalf("started with a mixture: %v", err)
	}
	put(killed)
	start()
	if got, err := l.Client(t, "issuer").Token(t.Context(), last); err != nil || got.Ref != last {
		t.Errorf("what was answered before it was killed: %+v, %v", got, err)
	}
}
