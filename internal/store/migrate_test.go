package store

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/mattn/go-sqlite3"
	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
)

// older opens path as a release that knew only the first migration.
func older(t *testing.T, path string) (*DB, error) {
	t.Helper()
	first := fstest.MapFS{"0001_attempts.sql": {Data: []byte("-- +goose Up\nCREATE TABLE attempts (caller TEXT);\n")}}
	d, err := open(t.Context(), Config{DSN: path}, sources{first})
	if err == nil {
		t.Cleanup(func() { _ = d.Close() })
	}
	return d, err
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	d, err := Open(t.Context(), Config{DSN: path})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if have, know, err := d.Versions(t.Context()); have != 0 || know < 1 || err != nil {
		t.Fatalf("empty database: %d of %d, %v", have, know, err)
	}
	for range 2 { // migrating twice is migrating once
		if err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	have, know, err := d.Versions(t.Context())
	if have != know || err != nil {
		t.Fatalf("after migrating: %d of %d, %v", have, know, err)
	}
	if _, err := older(t, path); !errors.Is(err, ErrSchema) || fault.KindOf(err) != fault.StoreDown {
		t.Fatalf("an older release opened a newer schema: %v", err)
	}
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	d, err := older(t, filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	d.sources.files.(fstest.MapFS)["0002_bad.sql"] = &fstest.MapFile{
		Data: []byte("-- +goose Up\nCREATE TABLE halfway (x TEXT);\nCREATE TABLE halfway (x TEXT);\n")}
	if err := d.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "step 0002_bad.sql, before which all steps stay made: sqlite error") {
		t.Fatalf("a bad migration: %v", err)
	}
	if have, _, err := d.Versions(t.Context()); have != 1 || err != nil {
		t.Fatalf("at %d, %v", have, err)
	}
	if err := d.Read(t.Context()).Exec("SELECT x FROM halfway").Error; err == nil {
		t.Fatal("half a migration was kept")
	}
	err = d.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Exec("DELETE FROM attempts").Error })
	if err != nil {
		t.Fatalf("the writer is stuck: %v", err)
	}
}

func TestErrorsOfTheDriver(t *testing.T) {
	for _, c := range []struct {
		err  error
		want fault.Kind
	}{
		{sqlite3.Error{Code: sqlite3.ErrReadonly}, fault.StoreReadOnly},
		{sqlite3.Error{Code: sqlite3.ErrPerm}, fault.StoreReadOnly},
		{sqlite3.Error{Code: sqlite3.ErrCantOpen, SystemErrno: syscall.EROFS}, fault.StoreReadOnly},
		{sqlite3.Error{Code: sqlite3.ErrCantOpen, SystemErrno: syscall.EACCES}, fault.StoreReadOnly},
		{sqlite3.Error{Code: sqlite3.ErrFull}, fault.StoreFull},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.ENOSPC}, fault.StoreFull},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EDQUOT}, fault.StoreFull},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EIO}, fault.StoreDown},
		{sqlite3.Error{Code: sqlite3.ErrBusy}, fault.StoreDown},
		{sqlite3.Error{Code: sqlite3.ErrLocked}, fault.StoreDown},
		{sqlite3.Error{Code: sqlite3.ErrCorrupt}, fault.StoreDown},
		{sqlite3.Error{Code: sqlite3.ErrNotADB}, fault.StoreDown},
		{sqlite3.Error{Code: sqlite3.ErrInterrupt}, fault.StoreDown},
		{sql.ErrConnDone, fault.StoreDown},
		{sqlite3.Error{Code: sqlite3.ErrError}, fault.Internal},
		{sqlite3.Error{Code: sqlite3.ErrConstraint, ExtendedCode: sqlite3.ErrConstraintNotNull}, fault.Internal},
	} {
		if got := mapError(c.err); fault.KindOf(got) != c.want || errors.As(got, new(sqlite3.Error)) {
			t.Errorf("%#v becomes %v", c.err, got)
		}
	}
	for code, want := range map[sqlite3.ErrNoExtended]error{
		sqlite3.ErrConstraintUnique: gorm.ErrDuplicatedKey, sqlite3.ErrConstraintPrimaryKey: gorm.ErrDuplicatedKey,
		sqlite3.ErrConstraintForeignKey: gorm.ErrForeignKeyViolated, sqlite3.ErrConstraintCheck: gorm.ErrCheckConstraintViolated,
	} {
		if got := mapError(sqlite3.Error{Code: sqlite3.ErrConstraint, ExtendedCode: code}); !errors.Is(got, want) {
			t.Errorf("%d becomes %v", code, got)
		}
	}
	if mapError(nil) != nil {
		t.Error("nothing became an error")
	}
}
