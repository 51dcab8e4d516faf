package load_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/load"
)

// TestClockAheadDecidesNothing: at a process whose clock is two days ahead no order
// waits for anybody that its card may still explain, and no money of it is given back.
func TestClockAheadDecidesNothing(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(500))
	b := must[load.Begun](t)(w.begin(c, o, mac1))
	on := ledger.Balances{Available: money - 500, CardLoad: 500}
	right, down := noon.Add(time.Hour), error(nil)
	w.now, w.other = right.Add(48*time.Hour), func() (time.Time, error) { return right, down }

	d := decision(b.Record, load.Reverse)
	if _, err := w.decide(d); !errors.Is(err, load.ErrClosed) || w.balances(mine) != on {
		t.Errorf("decided: %v, %+v", err, w.balances(mine))
	}
	waiting := func() (n, swept, listed int) {
		t.Helper()
		all := must[[]load.Matter](t)(w.service.Matters(t.Context(), desk, load.Search{Limit: 9}))
		return must[int](t)(w.service.Waiting(t.Context())), must[int](t)(w.service.Sweep(t.Context())), len(all)
	}
	if n, swept, listed := waiting(); n+swept+listed != 0 {
		t.Errorf("%d wait, %d were swept, %d are listed", n, swept, listed)
	}
	if m := must[[]load.Matter](t)(w.service.Matters(t.Context(), desk, load.Search{Load: b.ID, Limit: 9})); m[0].Open {
		t.Error("it is said to wait")
	}

	right, down = right.Add(24*time.Hour), errors.New("the database is silent")
	recorded := len(w.log.entries)
	if _, err := w.decide(d); !errors.Is(err, down) || w.balances(mine) != on {
		t.Errorf("without a second clock: %v, %+v", err, w.balances(mine))
	}
	for _, e := range w.log.entries[recorded:] {
		if e.Outcome == audit.Allowed && e.Object == b.ID {
			t.Errorf("recorded as decided: %+v", e)
		}
	}
	if _, err := w.service.Sweep(t.Context()); !errors.Is(err, down) {
		t.Errorf("swept without a second clock: %v", err)
	}
	down = nil
	if n, swept, listed := waiting(); n != 1 || swept != 1 || listed != 1 {
		t.Errorf("when it is time %d wait, %d were swept, %d are listed", n, swept, listed)
	}
	m := must[load.Matter](t)(w.decide(d))
	if m.State != load.Reversed || w.balances(mine) != (ledger.Balances{Available: money}) || !m.Decisions[0].At.Equal(right) {
		t.Errorf("%+v, %+v", m, w.balances(mine))
	}
}
