package counterdb_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/issuerhost/counterdb"
)

var one, two = [32]byte{1}, [32]byte{2}

// TestNeighbours: what is done to one card's rows is not done to another's.
func TestNeighbours(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		t.Run("Counters", func(t *testing.T) { twoCounters(t, db(t)) })
		t.Run("Misses", func(t *testing.T) { twoMissing(t, db(t)) })
		t.Run("Uses", func(t *testing.T) { twoUsing(t, db(t)) })
		t.Run("PINs", func(t *testing.T) { twoTrying(t, db(t)) })
	})
}

func twoCounters(t *testing.T, db *store.DB) {
	d := counterdb.New(db, nil)
	for _, c := range []struct {
		name  [32]byte
		value uint16
		want  error
	}{
		{one, 100, nil}, {two, 200, nil}, {one, 101, nil}, {two, 200, issuerhost.ErrReplayed}, {one, 101, issuerhost.ErrReplayed}, {two, 201, nil},
	} {
		if err := d.Spend(t.Context(), "bank", access.Attempt{}, c.name, c.value, window); !errors.Is(err, c.want) {
			t.Errorf("%d of card %d: %v, want %v", c.value, c.name[0], err, c.want)
		}
	}
}

func twoMissing(t *testing.T, db *store.DB) {
	at := time.Date(2026, time.July, 24, 12, 0, 0, 0, time.UTC)
	d := counterdb.New(db, func() time.Time { return at })
	take := func(client string, name [32]byte) func(context.Context) error {
		t.Helper()
		back, err := d.Take(t.Context(), client, name, 9)
		if err != nil || back == nil {
			t.Fatalf("%s, %d: %v", client, name[0], err)
		}
		return back
	}
	misses := func(client string, name [32]byte, want int) {
		t.Helper()
		if n, err := d.Misses(t.Context(), client, name); err != nil || n != want {
			t.Errorf("%s, %d: %d, %v; want %d", client, name[0], n, err, want)
		}
	}
	var back func(context.Context) error
	for day := range 2 {
		at = at.AddDate(0, 0, day)
		take("bank", two)
		take("other", one)
		back = take("bank", one)
	}
	for range 2 { // the second gives back what is not there
		if err := back(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	misses("bank", one, 0)
	misses("bank", two, 1)
	misses("other", one, 1)
	at = at.AddDate(0, 0, -1)
	misses("bank", one, 1)
}

func twoUsing(t *testing.T, db *store.DB) {
	d := counterdb.New(db, nil)
	for _, a := range []access.Attempt{{Key: "a"}, {Key: "a"}, {Key: "b"}} {
		n, err := d.Next(t.Context(), "bank", a, one, time.Hour)
		if want := uint16(a.Key[0]-'a') + 1; err != nil || n != want {
			t.Errorf("asked for as %s: %d, %v; want %d", a.Key, n, err, want)
		}
	}
	if n, err := d.Next(t.Context(), "bank", access.Attempt{}, two, time.Hour); err != nil || n != 1 {
		t.Errorf("the first of another card is %d, %v", n, err)
	}
	for _, name := range [][32]byte{one, two} {
		if err := d.Use(t.Context(), "bank", access.Attempt{}, name, 1); err != nil {
			t.Errorf("card %d: %v", name[0], err)
		}
	}
}

func twoTrying(t *testing.T, db *store.DB) {
	d := counterdb.New(db, nil)
	tries := func(name [32]byte, want int) {
		t.Helper()
		n := 0
		for ok := true; ok; n++ {
			var err error
			if ok, err = d.Try(t.Context(), name, 3); err != nil {
				t.Fatal(err)
			}
		}
		if n-1 != want {
			t.Errorf("card %d had %d tries left, want %d", name[0], n-1, want)
		}
	}
	tries(one, 3)
	tries(two, 3)
	if err := d.GiveBack(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	tries(one, 0)
	right := issuerhost.Settled{Line: two, Value: 1, Window: window, PINs: two, Right: true}
	if err := d.Settle(t.Context(), "bank", access.Attempt{}, right); err != nil {
		t.Fatal(err)
	}
	if err := d.GiveBack(t.Context(), two); err != nil { // of what was forgotten
		t.Fatal(err)
	}
	tries(one, 0)
	tries(two, 3)
}
