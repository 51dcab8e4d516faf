package store_test

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// note is a row of the tables that releases change here.
type note struct {
	ID   int64 `gorm:"primaryKey"`
	Text string
}

// releases are schemas of four releases that follow each other: the third only
// adds, the fourth takes away what the second needs.
func releases() (all [4]fs.FS) {
	files := fstest.MapFS{}
	for i, step := range []struct{ name, text string }{
		{"0100_floor.sql", "CREATE TABLE schema_floor (id INTEGER NOT NULL PRIMARY KEY, version BIGINT NOT NULL);\nINSERT INTO schema_floor (id, version) VALUES (1, 100);\n"},
		{"0101_notes.sql", "CREATE TABLE notes (id BIGINT NOT NULL PRIMARY KEY, text TEXT NOT NULL);\n"},
		{"0102_more.sql", "ALTER TABLE notes ADD COLUMN body TEXT NOT NULL DEFAULT '';\n"},
		{"0103_less.sql", "ALTER TABLE notes DROP COLUMN text;\nUPDATE schema_floor SET version = 102 WHERE id = 1;\n"},
	} {
		files[step.name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + step.text)}
		known := fstest.MapFS{}
		for name, f := range files {
			known[name] = f
		}
		all[i] = known
	}
	return all
}

// TestReleasesSideBySide: an older program goes on, and can start, on a schema
// that has more than it knows. Once something is gone that it needs, it is not
// well and does not start, while the release between goes on.
func TestReleasesSideBySide(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		cfg, known := config(t), releases()
		release := func(n int) (*store.DB, error) {
			d, err := store.OpenWith(t.Context(), cfg, known[n])
			if err == nil {
				t.Cleanup(func() { _ = d.Close() })
				err = d.Migrate(t.Context())
			}
			return d, err
		}
		old := must(t)(release(1))
		for i := range 20 { // so that every connection has its statements prepared
			use(t, old, int64(i+1))
		}
		more := must(t)(release(2))
		use(t, old, 100)
		use(t, must(t)(release(1)), 101) // started again on the newer schema
		use(t, more, 102)
		if have, know, err := old.Versions(t.Context()); have != 102 || know != 101 || err != nil {
			t.Fatalf("at %d, knows %d, %v", have, know, err)
		}
		must(t)(release(3))
		if err := more.Health(t.Context()); err != nil {
			t.Errorf("the release between is not well: %v", err)
		}
		if err := old.Health(t.Context()); !errors.Is(err, store.ErrSchema) || fault.KindOf(err) != fault.StoreDown {
			t.Errorf("an old process is well: %v", err)
		}
		if _, err := release(1); !errors.Is(err, store.ErrSchema) {
			t.Errorf("an old process started: %v", err)
		}
		if err := old.Migrate(t.Context()); !errors.Is(err, store.ErrSchema) {
			t.Errorf("an old process migrated: %v", err)
		}
	})
}

func must(t *testing.T) func(*store.DB, error) *store.DB {
	return func(d *store.DB, err error) *store.DB {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// use does with the table what packages do with theirs.
func use(t *testing.T, d *store.DB, id int64) {
	t.Helper()
	if err := d.Health(t.Context()); err != nil {
		t.Fatalf("not well: %v", err)
	}
	var in note
	if err := d.Tx(t.Context(), func(tx *gorm.DB) error {
		return errors.Join(tx.Create(&note{ID: id, Text: "x"}).Error, tx.Where("id = ?", id).Take(&in).Error,
			tx.Model(&note{}).Where("id = ?", id).Update("text", "y").Error)
	}); err != nil || in.Text != "x" {
		t.Fatalf("writing: %+v, %v", in, err)
	}
	var got []note
	if err := d.Read(t.Context()).Where("id = ?", id).Find(&got).Error; err != nil || len(got) != 1 || got[0].Text != "y" {
		t.Fatalf("reading: %+v, %v", got, err)
	}
}

// TestMigrationWaitsInTurns: a migration that finds a table in use does not make
// all others wait for as long as that lasts.
func TestMigrationWaitsInTurns(t *testing.T) {
	cfg, known := storetest.Postgres(t)(t), releases()
	open := func(n int) *store.DB {
		d := must(t)(store.OpenWith(t.Context(), cfg, known[n]))
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	old, more := open(1), open(2)
	if err := old.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	err := old.Snapshot(t.Context(), func(tx *gorm.DB) error { // a long look, such as an export's
		var n int64
		if err := tx.Raw("SELECT count(*) FROM notes").Scan(&n).Error; err != nil {
			return err
		}
		go func() { done <- more.Migrate(context.WithoutCancel(t.Context())) }()
		for waiting := int64(0); waiting == 0; { // until the migration waits for the table
			const q = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'notes'::regclass"
			if err := old.Read(t.Context()).Raw(q).Scan(&waiting).Error; err != nil {
				return err
			}
		}
		use(t, old, 1) // behind the migration in the queue, and answered before the look ends
		return nil
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	use(t, more, 2)
}

// meeting is a release that finds, when it reads how to make a step, that another
// process has just made it.
type meeting struct {
	fs.FS
	other func()
}

func (m meeting) Open(name string) (fs.File, error) {
	if name == "0102_more.sql" {
		m.other()
	}
	return m.FS.Open(name)
}

// TestMigratedByTwo: a step that another process has made meanwhile is no failure,
// however making it again fails.
func TestMigratedByTwo(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		cfg, known := config(t), releases()
		run := func(known fs.FS) error {
			d, err := store.OpenWith(t.Context(), cfg, known)
			if err == nil {
				err = errors.Join(d.Migrate(t.Context()), d.Close())
			}
			return err
		}
		met := 0
		other := sync.OnceFunc(func() {
			if met++; run(known[2]) != nil {
				t.Error("the other process did not get on")
			}
		})
		if err := errors.Join(run(known[1]), run(meeting{known[3], other})); err != nil || met != 1 {
			t.Errorf("they met %d times: %v", met, err)
		}
	})
}
