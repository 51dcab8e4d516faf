package guessdb_test

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// wrong makes n misses of one name, from the given one on.
func wrong(name byte, from, n int) (all []guess.Miss) {
	for i := range n {
		m := guess.Miss{Name: guess.Name{name}}
		m.ID[0] = name
		binary.BigEndian.PutUint32(m.ID[1:], uint32(from+i))
		all = append(all, m)
	}
	return all
}

// TestOnce: what is shown again is not counted again, a batch that passes a bound
// is not told of, and what stands behind it in the batch is not known the next
// day.
func TestOnce(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, open func(testing.TB) *store.DB) {
		now := time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC)
		d := guessdb.New(open(t), func() time.Time { return now })
		show := func(name, client string, misses []guess.Miss, total int, passed bool) {
			t.Helper()
			s, got, err := d.Once(t.Context(), client, misses)
			if err != nil || s.Total != total || got != passed {
				t.Fatalf("%s: %d are counted, passed: %v, %v; want %d, %v", name, s.Total, got, err, total, passed)
			}
			if s, err = d.Standing(t.Context(), client); err != nil || s.Total != total {
				t.Fatalf("%s: %d stand there, %v", name, s.Total, err)
			}
		}
		show("a few", "thief", wrong(1, 0, 10), 10, false)
		show("the same", "thief", wrong(1, 0, 10), 10, false)
		show("another name", "thief", wrong(2, 0, 3), 13, false)
		show("to the bound", "thief", wrong(1, 0, guess.Max), 3+guess.Max, false)
		show("the same at the bound", "thief", wrong(1, 0, guess.Max), 3+guess.Max, false)
		show("over it, and far", "thief", wrong(1, 0, 500), 4+guess.Max, true)
		show("once more", "thief", wrong(1, guess.Max, 500), 4+guess.Max, true)
		show("what it never showed", "thief", wrong(1, 1000, 5), 4+guess.Max, true)
		show("others", "gate", wrong(1, 0, 5), 5, false)
		s, err := d.Standing(t.Context(), "thief")
		if err != nil || !s.Barred[guess.Name{1}] || s.Barred[guess.Name{2}] || s.Until != 4*time.Hour {
			t.Errorf("%+v, %v", s, err)
		}
		now = now.Add(4 * time.Hour)
		show("known on the next day", "thief", wrong(1, 0, guess.Max+1), 0, false)
		show("what stood behind it", "thief", wrong(1, 0, 500), guess.Max+1, true)
		now = now.Add(100 * 24 * time.Hour)
		show("forgotten", "thief", wrong(1, 0, 1), 1, false)
	})
}

// TestOnceOfAllNames: the bound over everything ends a batch as well.
func TestOnceOfAllNames(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, open func(testing.TB) *store.DB) {
		d := guessdb.New(open(t), nil)
		for name := range byte(40) {
			before, err := d.Standing(t.Context(), "thief")
			if err != nil {
				t.Fatal(err)
			}
			s, passed, err := d.Once(t.Context(), "thief", wrong(name, 0, guess.Max-1))
			if err != nil || passed != (before.Total+guess.Max-1 > guess.MaxAll) || s.Total != min(before.Total+guess.Max-1, guess.MaxAll+1) {
				t.Fatalf("after %d: %d, passed: %v, %v", before.Total, s.Total, passed, err)
			}
		}
	})
}

// TestOnceAtOnce: however many batches are under way at the same moment, on
// however many processes, the caller is told of no more than the bound.
func TestOnceAtOnce(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, open func(testing.TB) *store.DB) {
		db := open(t)
		nodes := []*guessdb.DB{guessdb.New(db, nil), guessdb.New(db, nil)}
		var told atomic.Int64
		var wg sync.WaitGroup
		for k := range 16 {
			wg.Go(func() {
				batch := wrong(1, 5*k, 5)
				_, passed, err := nodes[k%2].Once(t.Context(), "thief", batch)
				if err != nil {
					t.Error(err)
				}
				if !passed {
					told.Add(int64(len(batch)))
				}
			})
		}
		wg.Wait()
		if n := told.Load(); n > guess.Max || n < guess.Max-5 {
			t.Errorf("the caller was told of %d guesses", n)
		}
		// Sent again, those that were counted are told of, and no others.
		told.Store(0)
		for k := range 16 {
			if _, passed, err := nodes[0].Once(t.Context(), "thief", slices.Clone(wrong(1, 5*k, 5))); err != nil {
				t.Fatal(err)
			} else if !passed {
				told.Add(5)
			}
		}
		if n := told.Load(); n > guess.Max+1 {
			t.Errorf("sent again, the caller was told of %d guesses", n)
		}
	})
}
