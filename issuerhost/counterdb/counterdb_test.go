package counterdb_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/issuerhost/counterdb"
)

var window = issuerhost.Window{Ahead: 1000, Behind: 63}

func TestEachDatabase(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		t.Run("Race", func(t *testing.T) { race(t, db(t)) })
		t.Run("Window", func(t *testing.T) { inOrder(t, db(t)) })
		t.Run("Misses", func(t *testing.T) { misses(t, db(t)) })
	})
}

// race: of many that show one value, one holds, and none is lost.
func race(t *testing.T, db *store.DB) {
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 4 { // as four processes
		d := counterdb.New(db, nil)
		for v := range uint16(20) {
			wg.Go(func() {
				err := d.Spend(t.Context(), "bank", access.Attempt{}, [32]byte{1}, 100+v, window)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, issuerhost.ErrReplayed) {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if won.Load() != 20 {
		t.Errorf("20 values were taken %d times", won.Load())
	}
}

func inOrder(t *testing.T, db *store.DB) {
	name := [32]byte{2}
	for _, c := range []struct {
		key   string
		value uint16
		want  error
	}{
		{"a", 65000, nil}, {"a", 65000, nil}, {"b", 65000, issuerhost.ErrReplayed}, {"", 64937, nil}, {"", 64937, issuerhost.ErrReplayed},
		{"", 64936, issuerhost.ErrReplayed}, {"", 65535, nil}, {"", 0, issuerhost.ErrReplayed}, {"", 65534, nil},
	} {
		d := counterdb.New(db, nil) // a restart each time
		if err := d.Spend(t.Context(), "bank", access.Attempt{Key: c.key}, name, c.value, window); !errors.Is(err, c.want) {
			t.Errorf("%d (%q): %v, want %v", c.value, c.key, err, c.want)
		}
	}
	d := counterdb.New(db, nil)
	if err := d.Spend(t.Context(), "bank", access.Attempt{}, [32]byte{3}, 1, window); err != nil {
		t.Fatal(err)
	}
	if err := d.Spend(t.Context(), "bank", access.Attempt{}, [32]byte{3}, 1002, window); !errors.Is(err, issuerhost.ErrJumped) {
		t.Errorf("a jump: %v", err)
	}
}

func misses(t *testing.T, db *store.DB) {
	at := time.Date(2026, time.July, 24, 23, 59, 0, 0, time.UTC)
	d := counterdb.New(db, func() time.Time { return at })
	count := func(client string, name byte, want int) {
		t.Helper()
		if n, err := d.Misses(t.Context(), client, [32]byte{name}); err != nil || n != want {
			t.Errorf("%s, %d: %d, %v; want %d", client, name, n, err, want)
		}
	}
	count("bank", 1, 0)
	for range 3 {
		if err := d.Miss(t.Context(), "bank", [32]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	count("bank", 1, 3)
	count("other", 1, 0)
	count("bank", 2, 0)
	at = at.Add(2 * time.Minute)
	count("bank", 1, 0)
}

func TestClosed(t *testing.T) {
	db := storetest.New(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d := counterdb.New(db, nil)
	if err := d.Spend(t.Context(), "bank", access.Attempt{}, [32]byte{1}, 1, window); fault.KindOf(err) != fault.StoreDown {
		t.Error(err)
	}
	if _, err := d.Misses(t.Context(), "bank", [32]byte{1}); fault.KindOf(err) != fault.StoreDown {
		t.Error(err)
	}
}
