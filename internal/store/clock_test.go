package store_test

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestClock: a server has a clock, which runs; a file has none.
func TestClock(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		cfg := config(t)
		db := storetest.Open(t, cfg)
		first, ok, err := db.Clock(t.Context())
		if err != nil || ok != store.IsPostgres(cfg.DSN) {
			t.Fatalf("%v, %v", ok, err)
		}
		if !ok {
			return
		}
		for now := first; !now.After(first); {
			if now, _, err = db.Clock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if off := time.Since(first); off.Abs() > time.Hour { // this machine's server
			t.Errorf("it is off by %v", off)
		}
	})
}

// TestForgetAhead: a process whose clock is months ahead of the server's forgets no
// attempt that others made a moment ago, and what is old by both clocks goes.
func TestForgetAhead(t *testing.T) {
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		cfg := config(t)
		right := storetest.Open(t, cfg)
		for _, key := range []string{"new", "old"} {
			err := right.Tx(t.Context(), func(tx *gorm.DB) error {
				_, err := store.Once(tx, "c", access.Attempt{Key: key}, "op", "r")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		old := time.Now().Add(-store.AttemptsKept - time.Hour).UnixMilli()
		storetest.Exec(t, right, "UPDATE attempts SET created_at = ? WHERE attempt_key = 'old'", old)
		want := int64(1)
		if !store.IsPostgres(cfg.DSN) {
			want = 2 // a file has no other clock
		}
		cfg.Now = func() time.Time { return time.Now().Add(2 * store.AttemptsKept) }
		if n, err := storetest.Open(t, cfg).Forget(t.Context()); err != nil || n != want {
			t.Errorf("forgot %d, %v; want %d", n, err, want)
		}
	})
}
