package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestEachDatabase holds both kinds of database to the same.
func TestEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		for name, test := range map[string]func(*testing.T, *store.DB){
			"readers cannot write":      readersCannotWrite,
			"failures spoil themselves": failuresSpoilThemselves,
			"counting in a race":        countingInARace,
			"a transaction inside one":  nested,
			"lists in a query":          lists,
			"attempts are forgotten":    forgotten,
		} {
			t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
		}
	})
}

func readersCannotWrite(t *testing.T, d *store.DB) {
	if err := d.Read(t.Context()).Exec("DELETE FROM attempts").Error; !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("got %v, want ErrReadOnly", err)
	}
}

// lists: a list stands for as many values as it has, and what fails is an error
// of this package.
func lists(t *testing.T, d *store.DB) {
	err := d.Tx(t.Context(), func(tx *gorm.DB) error { return errors.Join(keep(tx, "a"), keep(tx, "b"), keep(tx, "c")) })
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args []any
		want string
	}{
		{[]any{"c", []string{"a", "c", "no"}}, "ac"},
		{[]any{"c", []string{"b"}}, "b"},
		{[]any{"c", []string{}}, ""},
		{[]any{"d", []string{"a"}}, ""},
	} {
		got := ""
		err := store.Each(d.Read(t.Context()), "SELECT attempt_key FROM attempts WHERE caller = ? AND attempt_key IN ? ORDER BY attempt_key",
			func(rows *sql.Rows) error {
				var key string
				err := rows.Scan(&key)
				got += key
				return err
			}, x.args...)
		if err != nil || got != x.want {
			t.Errorf("%v: %q, %v", x.args, got, err)
		}
	}
	err = store.Each(d.Read(t.Context()), "DELETE FROM attempts WHERE caller = ?", func(*sql.Rows) error { return nil }, "c")
	if !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("a query that writes: %v", err)
	}
}

// forgotten: attempts that are old enough go, of whichever caller, and no
// other; a key is then as good as new.
func forgotten(t *testing.T, d *store.DB) {
	old := time.Now().Add(-store.AttemptsKept - time.Minute).UnixMilli()
	err := d.Tx(t.Context(), func(tx *gorm.DB) error {
		for i := range 1203 { // more than two walks' worth
			if _, err := store.Once(tx, fmt.Sprintf("c%d", i%3), access.Attempt{Key: fmt.Sprintf("k%04d", i)}, "op", "r"); err != nil {
				return err
			}
		}
		return tx.Exec("UPDATE attempts SET created_at = ? WHERE attempt_key < ? AND caller <> ?", old, "k0700", "c1").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	const were, stay = 1203, 1203 - 467 // of the first 700, those whose number leaves 0 or 2
	for _, want := range []int64{were - stay, 0} {
		if n, err := d.Forget(t.Context()); err != nil || n != want {
			t.Fatalf("forgot %d, %v; want %d", n, err, want)
		}
	}
	var left, wrong int64
	if err := d.Read(t.Context()).Table("attempts").Count(&left).Error; err != nil || left != stay {
		t.Fatalf("%d are left, %v", left, err)
	}
	if err := d.Read(t.Context()).Table("attempts").Where("created_at = ?", old).Count(&wrong).Error; err != nil || wrong != 0 {
		t.Fatalf("%d old ones are left, %v", wrong, err)
	}
	err = d.Tx(t.Context(), func(tx *gorm.DB) error {
		prior, err := store.Once(tx, "c0", access.Attempt{Key: "k0000"}, "op", "new")
		if prior != "" {
			err = errors.Join(err, fmt.Errorf("remembered %q", prior))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// keep writes one row.
func keep(tx *gorm.DB, key string) error {
	_, err := store.Once(tx, "c", access.Attempt{Key: key}, "op", "r")
	return err
}

// failuresSpoilThemselves: of transactions that share commits, those that fail
// or panic leave nothing, and the others everything.
func failuresSpoilThemselves(t *testing.T, d *store.DB) {
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			defer func() {
				if r := recover(); (r != nil) != (i%3 == 2) {
					t.Errorf("transaction %d: %v", i, r)
				}
			}()
			err := d.Tx(t.Context(), func(tx *gorm.DB) error {
				if err := keep(tx, fmt.Sprint(i)); err != nil {
					return err
				}
				switch i % 3 {
				case 1:
					return boom
				case 2:
					panic(boom)
				}
				return nil
			})
			if i%3 == 0 && err != nil || i%3 == 1 && !errors.Is(err, boom) {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := attempts(t, d); n != 20 {
		t.Fatalf("%d rows are kept, want 20", n)
	}
}

// countingInARace: what a transaction read holds until it commits.
func countingInARace(t *testing.T, d *store.DB) {
	storetest.Exec(t, d, "INSERT INTO attempts (caller, attempt_key, operation, digest, result, created_at) VALUES ('c', 'k', 'op', ?, '', 0)", []byte{1})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := d.Tx(t.Context(), func(tx *gorm.DB) error {
				var n int64
				if err := tx.Raw("SELECT created_at FROM attempts").Scan(&n).Error; err != nil {
					return err
				}
				return tx.Exec("UPDATE attempts SET created_at = ?", n+1).Error
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var n int64
	if err := d.Read(t.Context()).Raw("SELECT created_at FROM attempts").Scan(&n).Error; err != nil || n != 20 {
		t.Fatalf("counted %d, %v", n, err)
	}
}

func nested(t *testing.T, d *store.DB) {
	boom := errors.New("boom")
	err := d.Tx(t.Context(), func(tx *gorm.DB) error {
		if err := keep(tx, "outer"); err != nil {
			return err
		}
		err := tx.Transaction(func(tx *gorm.DB) error { return errors.Join(keep(tx, "inner"), boom) })
		if !errors.Is(err, boom) {
			t.Errorf("the inner one: %v", err)
		}
		return nil
	})
	if err != nil || attempts(t, d) != 1 {
		t.Fatalf("%v, %d rows", err, attempts(t, d))
	}
}

// TestProcessesOnPostgres: of two that write through groups of their own, each
// finds what the other committed before, and none counts past the other.
func TestProcessesOnPostgres(t *testing.T) {
	cfg := storetest.Postgres(t)(t)
	a, b := storetest.Open(t, cfg), storetest.Open(t, cfg)
	storetest.Exec(t, a, "INSERT INTO attempts (caller, attempt_key, operation, digest, result, created_at) VALUES ('c', 'k', 'op', ?, '', 0)", []byte{1})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 6 {
				key := fmt.Sprint(i, "-", n)
				first, second := a, b
				if (i+n)%2 == 0 {
					first, second = b, a
				}
				if err := first.Tx(t.Context(), func(tx *gorm.DB) error { return keep(tx, key) }); err != nil {
					t.Error(err)
				}
				if err := second.Tx(t.Context(), func(tx *gorm.DB) error { return countIfKept(tx, key) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	if err := b.Read(t.Context()).Raw("SELECT created_at FROM attempts WHERE attempt_key = 'k'").Scan(&n).Error; err != nil || n != 96 {
		t.Fatalf("counted %d, %v; want 96", n, err)
	}
}

func countIfKept(tx *gorm.DB, key string) error {
	var n int64
	if err := tx.Raw("SELECT count(*) FROM attempts WHERE attempt_key = ?", key).Scan(&n).Error; err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("what was committed before is not there: %s", key)
	}
	return tx.Exec("UPDATE attempts SET created_at = created_at + 1 WHERE attempt_key = 'k'").Error
}

// TestLostConnection: one transaction fails with its connection, the next has
// another.
func TestLostConnection(t *testing.T) {
	d := storetest.Open(t, storetest.Postgres(t)(t))
	err := d.Tx(t.Context(), func(tx *gorm.DB) error {
		return errors.Join(keep(tx, "k"), tx.Exec("SELECT pg_terminate_backend(pg_backend_pid())").Error)
	})
	if err == nil || attempts(t, d) != 0 {
		t.Fatalf("the one that lost it: %v, %d rows", err, attempts(t, d))
	}
	if err := d.Tx(t.Context(), func(tx *gorm.DB) error { return keep(tx, "k") }); err != nil || attempts(t, d) != 1 {
		t.Fatalf("afterwards: %v, %d rows", err, attempts(t, d))
	}
}
