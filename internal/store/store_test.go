package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

func TestPragmas(t *testing.T) {
	d := storetest.New(t)
	for _, c := range []struct{ pragma, want string }{
		{"journal_mode", "wal"}, {"synchronous", "2"}, {"foreign_keys", "1"},
	} {
		var got, inTx string
		if err := d.Read(t.Context()).Raw("PRAGMA " + c.pragma).Scan(&got).Error; err != nil {
			t.Fatal(err)
		}
		err := d.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Raw("PRAGMA " + c.pragma).Scan(&inTx).Error })
		if err != nil || got != c.want || inTx != c.want {
			t.Errorf("%s: reading %q, writing %q, %v; want %q", c.pragma, got, inTx, err, c.want)
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	d := storetest.New(t)
	err := d.Read(t.Context()).Exec("DELETE FROM attempts").Error
	if !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("got %v, want ErrReadOnly", err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	path := storetest.Path(t)
	storetest.Open(t, store.Config{DSN: path})
	for _, f := range []string{path, path + "-wal", path + "-shm"} {
		if st, err := os.Stat(f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
	}
}

func TestTxKeepsAllOrNothing(t *testing.T) {
	d := storetest.New(t)
	boom := errors.New("boom")
	write := func(after error) error {
		return d.Tx(t.Context(), func(tx *gorm.DB) error {
			if _, err := store.Once(tx, "c", access.Attempt{Key: "k"}, "op", "r"); err != nil {
				return err
			}
			return after
		})
	}
	if err := write(boom); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if n := attempts(t, d); n != 0 {
		t.Fatalf("%d rows after a failed transaction", n)
	}
	if err := write(nil); err != nil {
		t.Fatal(err)
	}
	if n := attempts(t, d); n != 1 {
		t.Fatalf("%d rows after a transaction", n)
	}
}

func TestTxEndsWhatItBegan(t *testing.T) {
	d := storetest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Tx(ctx, func(tx *gorm.DB) error {
		cancel()
		_, err := store.Once(tx, "c", access.Attempt{Key: "k"}, "op", "r")
		return err
	})
	if err != nil || attempts(t, d) != 1 {
		t.Fatalf("%v, %d rows", err, attempts(t, d))
	}
	if err := d.Tx(ctx, func(*gorm.DB) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("a caller who had gone was served: %v", err)
	}
}

func TestOnce(t *testing.T) {
	d := storetest.New(t)
	a := access.Attempt{Key: "key-1", Digest: [32]byte{1}}
	once := func(caller string, a access.Attempt, op, result string) (prior string, err error) {
		err = d.Tx(t.Context(), func(tx *gorm.DB) error {
			prior, err = store.Once(tx, caller, a, op, result)
			return err
		})
		return prior, err
	}
	steps := []struct {
		name, caller string
		a            access.Attempt
		op, result   string
		prior        string
		kind         fault.Kind
	}{
		{"first", "bank", a, "tokens", "r1", "", ""},
		{"again", "bank", a, "tokens", "r2", "r1", ""},
		{"another caller's key is its own", "other", a, "tokens", "r3", "", ""},
		{"another operation", "bank", a, "bundles", "r4", "", fault.KeyReused},
		{"another body", "bank", access.Attempt{Key: "key-1", Digest: [32]byte{2}}, "tokens", "r5", "", fault.KeyReused},
		{"no key", "bank", access.Attempt{}, "tokens", "r6", "", ""},
		{"no key again", "bank", access.Attempt{}, "tokens", "r7", "", ""},
	}
	for _, s := range steps {
		prior, err := once(s.caller, s.a, s.op, s.result)
		if prior != s.prior || (err == nil) != (s.kind == "") || err != nil && fault.KindOf(err) != s.kind {
			t.Errorf("%s: %q, %v", s.name, prior, err)
		}
	}
}

func TestOnceInARace(t *testing.T) {
	d := storetest.New(t)
	a := access.Attempt{Key: "k"}
	var wg sync.WaitGroup
	firsts := make(chan string, 32)
	for i := range 32 {
		wg.Go(func() {
			err := d.Tx(t.Context(), func(tx *gorm.DB) error {
				prior, err := store.Once(tx, "c", a, "op", string(rune('a'+i)))
				if prior == "" {
					firsts <- "first"
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(firsts) != 1 {
		t.Fatalf("%d callers were first", len(firsts))
	}
}

func TestClosed(t *testing.T) {
	d := storetest.New(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"reading": d.Health(t.Context()),
		"writing": d.Tx(t.Context(), func(*gorm.DB) error { return nil }),
	} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	path := storetest.Path(t)
	d := storetest.Open(t, store.Config{DSN: path})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	ro, err := store.Open(t.Context(), store.Config{DSN: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if err := ro.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = ro.Tx(t.Context(), func(tx *gorm.DB) error {
		_, err := store.Once(tx, "c", access.Attempt{Key: "k"}, "op", "r")
		return err
	})
	if !errors.Is(err, store.ErrReadOnly) || fault.KindOf(err) != fault.StoreReadOnly {
		t.Fatalf("got %v", err)
	}
}

func TestFull(t *testing.T) {
	d := storetest.Small(t, 200<<10)
	var err error
	kept := 0
	for err == nil {
		err = d.Tx(t.Context(), func(tx *gorm.DB) error {
			_, err := store.Once(tx, "c", access.Attempt{Key: strings.Repeat("k", kept%7) + time.Unix(int64(kept), 0).String()},
				"op", strings.Repeat("r", 4000))
			return err
		})
		if err == nil {
			kept++
		}
	}
	if !errors.Is(err, store.ErrFull) || fault.KindOf(err) != fault.StoreFull {
		t.Fatalf("got %v", err)
	}
	if n := attempts(t, d); n != kept || kept == 0 {
		t.Fatalf("%d rows, %d transactions succeeded", n, kept)
	}
	if err := d.Health(t.Context()); err != nil {
		t.Fatalf("a full database must still answer: %v", err)
	}
}

func TestNotADatabase(t *testing.T) {
	path := storetest.Path(t)
	if err := os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), store.Config{DSN: path}); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	for _, dsn := range []string{"", ":memory:", t.TempDir() + "/none/x.db"} {
		if _, err := store.Open(t.Context(), store.Config{DSN: dsn}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	path := storetest.Path(t)
	a := storetest.Open(t, store.Config{DSN: path})
	b := storetest.Open(t, store.Config{DSN: path, BusyTimeout: 20 * time.Millisecond})
	err := a.Tx(t.Context(), func(*gorm.DB) error {
		return b.Tx(t.Context(), func(*gorm.DB) error { return nil })
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if err := b.Tx(t.Context(), func(*gorm.DB) error { return nil }); err != nil {
		t.Fatalf("after the lock was gone: %v", err)
	}
}

// attempts counts the rows that are kept.
func attempts(t *testing.T, d *store.DB) int {
	t.Helper()
	var n int64
	if err := d.Read(t.Context()).Table("attempts").Count(&n).Error; err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// TestFileIsGone: SQLite goes on with a file that has no name any more, and
// what it commits there is lost.
func TestFileIsGone(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"removed":  os.Remove,
		"its -wal": func(path string) error { return os.Remove(path + "-wal") },
		"its -shm": func(path string) error { return os.Remove(path + "-shm") },
		"moved":    func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		path := storetest.Path(t)
		d := storetest.Open(t, store.Config{DSN: path})
		if err := errors.Join(d.Health(t.Context()), change(path)); err != nil {
			t.Fatal(err)
		}
		ran := false
		err := d.Tx(t.Context(), func(*gorm.DB) error { ran = true; return nil })
		if !errors.Is(err, store.ErrUnavailable) || ran {
			t.Errorf("%s: writing: %v, ran: %t", name, err, ran)
		}
		if err := d.Health(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: health: %v", name, err)
		}
	}
}
