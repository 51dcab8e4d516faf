package guessdb_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestBatchesOfGuessesAtOnce: who guesses in many batches at the same moment, at all
// processes, is told of no more guesses than who asks one by one, and not which was
// right.
func TestBatchesOfGuessesAtOnce(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, db func(testing.TB) *store.DB) {
		w := newWorld(t, db(t))
		const batches, size = 8, 100
		all := make([]cardhost.PurchaseCheck, size)
		for i := range all {
			all[i] = w.check(card(1), i == 0)
		}
		all[1] = w.check(card(2), true) // no guess
		var wrong, right, others atomic.Int64
		var calls sync.WaitGroup
		for k := range batches {
			calls.Go(func() {
				errs, err := w.nodes[k%len(w.nodes)].PurchaseVerifyBatch(t.Context(), caller("thief"), all)
				if err != nil {
					t.Error(err)
					return
				}
				for i, err := range errs {
					switch {
					case err == nil && i == 1:
						others.Add(1)
					case err == nil:
						right.Add(1)
					case errors.Is(err, cryptogram.ErrMismatch):
						wrong.Add(1)
					case !errors.Is(err, guess.ErrMisses):
						t.Error(err)
					}
				}
			})
		}
		calls.Wait()
		if wrong.Load() != guess.Max || right.Load() != 0 || others.Load() != batches {
			t.Errorf("told of %d wrong guesses, of %d right ones, and of %d purchases at another card", wrong.Load(), right.Load(), others.Load())
		}
	})
}
