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
		t.Run("PINs", func(t *testing.T) { pins(t, db(t)) })
		t.Run("Uses", func(t *testing.T) { uses(t, db(t)) })
		t.Run("Misses", func(t *testing.T) { misses(t, db(t)) })
		t.Run("PutBack", func(t *testing.T) { putBack(t, db(t), db(t)) })
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
	for i := range 3 {
		if n, err := d.Miss(t.Context(), "bank", [32]byte{1}); err != nil || n != i+1 {
			t.Fatal(n, err)
		}
	}
	count("bank", 1, 3)
	for _, want := range []bool{true, false} { // up to four
		back, err := d.Take(t.Context(), "bank", [32]byte{1}, 4)
		if err != nil || (back != nil) != want {
			t.Errorf("taken %t, %v; want %t", back != nil, err, want)
		}
	}
	count("bank", 1, 4)
	back, err := d.Take(t.Context(), "bank", [32]byte{1}, 9)
	if err != nil || back == nil || back(t.Context()) != nil {
		t.Errorf("given back: %v", err)
	}
	count("bank", 1, 4)
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

// pins: no more tries than there may be are taken, however many ask at once.
func pins(t *testing.T, db *store.DB) {
	var taken atomic.Int64
	var wg sync.WaitGroup
	d := counterdb.New(db, nil)
	for range 20 {
		wg.Go(func() {
			ok, err := d.Try(t.Context(), [32]byte{1}, 5)
			if err != nil {
				t.Error(err)
			}
			if ok {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if taken.Load() != 5 {
		t.Errorf("%d tries were taken of 5", taken.Load())
	}
	try := func(want bool) {
		t.Helper()
		if ok, err := d.Try(t.Context(), [32]byte{1}, 5); err != nil || ok != want {
			t.Errorf("%v, %v", ok, err)
		}
	}
	value := uint16(0)
	settle := func(key string, right bool) {
		t.Helper()
		tap := issuerhost.Settled{Line: [32]byte{2}, Value: value, Window: window, PINs: [32]byte{1}, Right: right}
		if err := d.Settle(t.Context(), "bank", access.Attempt{Key: key}, tap); err != nil {
			t.Error(err)
		}
	}
	known := func(client, key string, want bool) {
		t.Helper()
		if got, err := d.Known(t.Context(), client, access.Attempt{Key: key}); err != nil || got != want {
			t.Errorf("%s/%s is known: %v, %v", client, key, got, err)
		}
	}
	try(false)
	if err := d.GiveBack(t.Context(), [32]byte{1}); err != nil {
		t.Error(err)
	}
	try(true)
	value++
	settle("wrong", false) // keeps its try
	try(false)
	settle("wrong", false) // of another process, at the same moment: it gives its own back
	try(true)
	known("bank", "right", false)
	value++
	settle("right", true) // forgets all
	for range 5 {
		try(true)
	}
	try(false)
	settle("right", true) // and is not right anew
	try(true)
	try(false)
	known("bank", "right", true)
	known("others", "right", false)
	known("bank", "", false)
	tap := issuerhost.Settled{Line: [32]byte{2}, Value: value, Window: window, PINs: [32]byte{1}, Right: true}
	if err := d.Settle(t.Context(), "bank", access.Attempt{}, tap); !errors.Is(err, issuerhost.ErrReplayed) {
		t.Errorf("a counter settled twice: %v", err)
	}
	try(false) // what was not taken forgets nothing
}

// uses: each value is given once, used once, and not after its time.
func uses(t *testing.T, db *store.DB) {
	at := time.Date(2026, time.July, 24, 9, 0, 0, 0, time.UTC)
	d := counterdb.New(db, func() time.Time { return at })
	var seen sync.Map
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			n, err := d.Next(t.Context(), "bank", access.Attempt{}, [32]byte{1}, time.Hour)
			if err != nil {
				t.Error(err)
			}
			if _, twice := seen.LoadOrStore(n, true); twice {
				t.Errorf("%d was given twice", n)
			}
		})
	}
	wg.Wait()
	use := func(key string, n uint16, want error) {
		t.Helper()
		if err := d.Use(t.Context(), "bank", access.Attempt{Key: key}, [32]byte{1}, n); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", n, err, want)
		}
	}
	use("a", 7, nil)
	use("a", 7, nil)
	use("b", 7, issuerhost.ErrReplayed)
	use("", 3, nil)
	use("", 3, issuerhost.ErrReplayed)
	use("", 13, issuerhost.ErrReplayed)
	at = at.Add(time.Hour)
	use("", 4, issuerhost.ErrReplayed)
	storetest.Exec(t, db, "UPDATE emv_counters SET high = 65535")
	if _, err := d.Next(t.Context(), "bank", access.Attempt{}, [32]byte{1}, time.Hour); fault.KindOf(err) != fault.CounterSpent {
		t.Errorf("after the last counter: %v", err)
	}
}
