package guessdb_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// judging counts the purchases that are judged.
type judging struct {
	cryptogram.Keys
	n atomic.Int64
}

func (j *judging) ProcessMAC(ctx context.Context, key keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	j.n.Add(1)
	return j.Keys.ProcessMAC(ctx, key, input, msgs...)
}

// TestGuessesAtOnce: who shows hundreds of guesses at the same moment, one by one, has
// no more of them judged than are left: whatever the right one is among them, it is
// not told. Two processes know of each other's when they are counted, so the second may
// judge as many more as it lets on side by side.
func TestGuessesAtOnce(t *testing.T) {
	const before, atOnce = guess.Max - 2, 200
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		for nodes, most := range map[int]int64{1: guess.Max, 2: guess.Max + guess.Abreast} {
			w := newWorld(t, db(t))
			for range before {
				if err := w.guess(0, "thief", card(1), false); !errors.Is(err, cryptogram.ErrMismatch) {
					t.Fatal(err)
				}
			}
			told := w.atOnce(nodes, atOnce, func(int) cardhost.Card { return card(1) })
			if n := w.judged.n.Load(); n > most || n < guess.Max {
				t.Errorf("%d guesses were judged by %d processes, %d may be", n, nodes, most)
			}
			if told != guess.Max-before {
				t.Errorf("%d of %d processes were told to be wrong", told, nodes)
			}
			if err := w.guess(0, "gate", card(1), true); err != nil {
				t.Errorf("the holder at another reader: %v", err)
			}
		}
	})
}

// TestGuessesAtManyCardsAtOnce: who shows guesses at many cards at the same moment has
// no more of them judged than are left of all, but for the few that each process more
// than one lets on side by side.
func TestGuessesAtManyCardsAtOnce(t *testing.T) {
	const left, atOnce = 50, 400
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		base := db(t)
		w := newWorld(t, base)
		before := make([]guess.Miss, guess.MaxAll-left)
		for i := range before {
			before[i] = guess.Miss{Name: guess.Name{byte(i)}, ID: [32]byte{byte(i), byte(i >> 8)}}
		}
		clock := func() time.Time { return time.UnixMilli(w.now.Load()) }
		if _, passed, err := guessdb.New(base, clock).Once(t.Context(), "thief", before); err != nil || passed {
			t.Fatal(passed, err)
		}
		told := w.atOnce(2, atOnce, func(i int) cardhost.Card { return card(byte(i / 4)) })
		if n := w.judged.n.Load(); n > left+guess.Abreast || n < left {
			t.Errorf("%d guesses were judged where %d were left", n, left)
		}
		if told != left {
			t.Errorf("%d were told to be wrong where %d were left", told, left)
		}
	})
}

// atOnce guesses so often at the same moment, and returns how often it was told that it
// was wrong.
func (w *world) atOnce(nodes, n int, at func(i int) cardhost.Card) (told int64) {
	var wrong atomic.Int64
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() {
			switch err := w.guess(i%nodes, "thief", at(i), false); {
			case errors.Is(err, cryptogram.ErrMismatch):
				wrong.Add(1)
			case !errors.Is(err, guess.ErrMisses):
				w.Error(err)
			}
		})
	}
	calls.Wait()
	return wrong.Load()
}
