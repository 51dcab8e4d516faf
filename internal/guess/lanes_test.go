package guess

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// door is a bound on what is wrong, as a count that others keep.
type door struct {
	*testing.T
	lanes  Lanes
	left   atomic.Int64
	judged atomic.Int64

	mu          sync.Mutex
	under, most int64 // of weight
}

var errShut = errors.New("nothing is left")

func (d *door) look(context.Context) (func(int) int, error) {
	n := int(d.left.Load())
	if n <= 0 {
		return nil, errShut
	}
	return func(int) int { return n }, nil
}

// pass takes a second under a key, and is wrong as often as it weighs if it is wrong.
func (d *door) pass(ctx context.Context, wrong bool, shares ...Share) error {
	leave, err := d.lanes.Enter(ctx, shares, d.look)
	if err != nil {
		return err
	}
	defer leave()
	weight := int64(shares[0].Weight)
	d.judged.Add(weight)
	d.add(weight)
	time.Sleep(time.Second)
	if d.add(-weight); wrong {
		d.left.Add(-weight)
	}
	return nil
}

func (d *door) add(weight int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.under += weight
	d.most = max(d.most, d.under)
}

// widest is the most that was under way together.
func (d *door) widest() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.most
}

func newDoor(t *testing.T, left int64) *door {
	d := &door{T: t}
	d.left.Store(left)
	return d
}

// empty checks that nothing is remembered of what ended.
func (d *door) empty() {
	d.Helper()
	synctest.Wait()
	if len(d.lanes.busy) != 0 {
		d.Errorf("%d keys are remembered", len(d.lanes.busy))
	}
}

// TestSideBySide: as many as a key lets on are under way together, in their turn, and
// those of other keys beside them.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 100)
		for _, key := range []string{"a", "b"} {
			for range 10 {
				go d.pass(t.Context(), false, Share{key, 1, 4})
			}
		}
		time.Sleep(time.Minute)
		if d.widest() != 8 || d.judged.Load() != 20 {
			t.Errorf("%d together, %d in all", d.widest(), d.judged.Load())
		}
		for range 4 {
			go d.pass(t.Context(), false, Share{"a", 1, 4})
		}
		synctest.Wait()
		began := time.Now()
		if err := d.pass(t.Context(), false, Share{"b", 1, 4}); err != nil || time.Since(began) != time.Second {
			t.Errorf("one of another key waited %v, %v", time.Since(began), err)
		}
		d.empty()
	})
}

// TestNoMoreThanAreLeft: of many that are all wrong no more are let on than are left,
// also when some weigh more; the rest are told so.
func TestNoMoreThanAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, left := range []int64{1, 2, 3, 32} {
			d := newDoor(t, left)
			var shut atomic.Int64
			for range 200 {
				go func() {
					if err := d.pass(t.Context(), true, Share{"a", 1, 4}); errors.Is(err, errShut) {
						shut.Add(1)
					}
				}()
			}
			time.Sleep(time.Hour)
			if d.judged.Load() != left || shut.Load() != 200-left {
				t.Errorf("of %d left, %d were judged, %d were not", left, d.judged.Load(), shut.Load())
			}
			d.empty()
		}
	})
}

// TestRightOnesGoOn: what is right uses nothing up, however little is left: it waits
// for those before it. When more is left again, more go on together.
func TestRightOnesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 2)
		for range 50 {
			go d.pass(t.Context(), false, Share{"a", 1, 4})
		}
		time.Sleep(10 * time.Second)
		if d.widest() != 2 {
			t.Errorf("%d together where 2 could be wrong", d.widest())
		}
		d.left.Store(32)
		time.Sleep(10 * time.Second)
		if d.widest() != 4 || d.judged.Load() != 50 {
			t.Errorf("%d together the next day, %d in all", d.widest(), d.judged.Load())
		}
		d.empty()
	})
}

// TestAHeavyOneGoesAlone: what weighs more than there is room for is alone.
func TestAHeavyOneGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 32)
		for range 3 {
			go d.pass(t.Context(), false, Share{"a", 30, 4})
			go d.pass(t.Context(), false, Share{"a", 1, 4})
		}
		time.Sleep(time.Minute)
		if d.widest() != 30 || d.judged.Load() != 93 {
			t.Errorf("%d together, %d in all", d.widest(), d.judged.Load())
		}
		d.empty()
	})
}

// TestWhoGivesUp: one that stops waiting holds up nobody behind it, and what it has
// under other keys is free.
func TestWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 32)
		go d.pass(t.Context(), false, Share{"b", 4, 4})
		synctest.Wait()
		ctx, giveUp := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- d.pass(ctx, false, Share{"a", 4, 4}, Share{"b", 4, 4}) }()
		synctest.Wait()
		other := make(chan error, 2)
		go func() { other <- d.pass(t.Context(), false, Share{"a", 1, 4}) }()
		go func() { other <- d.pass(t.Context(), false, Share{"b", 1, 4}) }()
		synctest.Wait()
		giveUp()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range 2 {
			if err := <-other; err != nil {
				t.Error(err)
			}
		}
		if d.judged.Load() != 6 {
			t.Errorf("%d in all", d.judged.Load())
		}
		d.empty()
	})
}

// TestALookThatPanics: places are given back by whoever could not look, so nobody waits
// for it for ever.
func TestALookThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 32)
		func() {
			defer func() { _ = recover() }()
			_, _ = d.lanes.Enter(t.Context(), []Share{{"a", 4, 4}}, func(context.Context) (func(int) int, error) { panic("broken") })
		}()
		d.empty()
	})
}
