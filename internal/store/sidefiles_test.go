package store_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestBackupBesideAnothersWAL: a back-up that is put in the place of a file whose -wal
// was left becomes a mixture of both, and that is found.
func TestBackupBesideAnothersWAL(t *testing.T) {
	path, backup := storetest.Path(t), storetest.Path(t)
	open := func() *store.DB {
		t.Helper()
		d, err := store.Open(t.Context(), store.Config{DSN: path})
		if err == nil {
			err = d.Migrate(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	fill := func(d *store.DB, from int) {
		t.Helper()
		if err := d.Tx(t.Context(), func(tx *gorm.DB) error {
			for i := range 2000 {
				if err := tx.Exec("INSERT INTO attempts (caller, attempt_key, operation, digest, result, created_at) VALUES ('c', ?, 'o', x'00', ?, 0)",
					from+i, strings.Repeat("r", 200)).Error; err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	copyFile := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first := open()
	if err := errors.Join(first.Sound(t.Context()), first.Close()); err != nil {
		t.Fatal(err)
	}
	copyFile(path, backup)
	first = open()
	fill(first, 0)
	if err := first.Close(); err != nil { // which brings all of it into the file
		t.Fatal(err)
	}
	first = open()
	fill(first, 2000)
	left := path + ".left" // as a process that is killed leaves it
	copyFile(path+"-wal", left)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(backup, path)
	copyFile(left, path+"-wal")
	mixed, err := store.Open(t.Context(), store.Config{DSN: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mixed.Close()
	if err := mixed.Sound(t.Context()); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "move away") {
		t.Errorf("a mixture is sound: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := mixed.Sound(ended); err == nil || strings.Contains(err.Error(), "damaged") {
		t.Errorf("without time to read it: %v", err)
	}
}

// TestGoneMeanwhile: what was committed after its -wal was removed is in no file that
// anybody finds again, and is not said to be kept.
func TestGoneMeanwhile(t *testing.T) {
	path := storetest.Path(t)
	d := storetest.Open(t, store.Config{DSN: path})
	err := d.Tx(t.Context(), func(tx *gorm.DB) error {
		return errors.Join(os.Remove(path+"-wal"), tx.Exec("DELETE FROM attempts").Error)
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("said to be kept: %v", err)
	}
}
