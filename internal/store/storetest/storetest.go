// Package storetest gives each test its own database on disk: an SQLite file,
// or a database of a PostgreSQL server that runs for the test alone.
package storetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/cluster"
)

// Dialects runs test once on each kind of database, as a subtest. config names
// a new and empty database each time it is called.
func Dialects(t *testing.T, test func(t *testing.T, config func(testing.TB) store.Config)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		test(t, func(t testing.TB) store.Config { return store.Config{DSN: Path(t)} })
	})
	t.Run("PostgreSQL", func(t *testing.T) { test(t, Postgres(t)) })
}

// OnEach is [Dialects] for tests that want a migrated database.
func OnEach(t *testing.T, test func(t *testing.T, db func(testing.TB) *store.DB)) {
	t.Helper()
	Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		test(t, func(t testing.TB) *store.DB { return Open(t, config(t)) })
	})
}

// Postgres starts a PostgreSQL server that ends with t. What it returns makes a
// new and empty database there.
func Postgres(t testing.TB) func(testing.TB) store.Config {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("stopping PostgreSQL: %v", err)
		}
	})
	return func(t testing.TB) store.Config {
		t.Helper()
		dsn, err := c.Database(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return store.Config{DSN: dsn}
	}
}

// New returns a migrated database in a file of its own.
func New(t testing.TB) *store.DB {
	t.Helper()
	return Open(t, store.Config{DSN: Path(t)})
}

// Path is where a test's database may lie.
func Path(t testing.TB) string { return filepath.Join(t.TempDir(), "tapvault.db") }

// At returns a migrated database whose clock is now.
func At(t testing.TB, now func() time.Time) *store.DB {
	t.Helper()
	return Open(t, store.Config{DSN: Path(t), Now: now})
}

// Open opens and migrates the database that cfg names.
func Open(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// Small returns a migrated database that may grow by so many bytes and no more.
func Small(t testing.TB, spare int64) *store.DB {
	t.Helper()
	path := Path(t)
	if err := Open(t, store.Config{DSN: path}).Close(); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return Open(t, store.Config{DSN: path, MaxBytes: st.Size() + spare})
}

// Exec runs one statement, to bring a database into a state that is far away.
func Exec(t testing.TB, d *store.DB, statement string, args ...any) {
	t.Helper()
	err := d.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Exec(statement, args...).Error })
	if err != nil {
		t.Fatal(err)
	}
}
