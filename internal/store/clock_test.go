package store_test

import (
	"testing"
	"time"

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
