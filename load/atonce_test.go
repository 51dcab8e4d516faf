package load_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/load"
)

// TestProofsGuessedAtOnce: of wrong proofs of an order that are shown at the same moment
// no more are judged than of those that are shown one by one.
func TestProofsGuessedAtOnce(t *testing.T) {
	w := newWorld(t)
	c := newCard(t, 1)
	o, mac1 := c.start(credit(500))
	b, err := w.begin(c, o, mac1)
	if err != nil {
		t.Fatal(err)
	}
	var judged atomic.Int64
	var calls sync.WaitGroup
	for i := range 60 {
		calls.Go(func() {
			switch _, err := w.confirm(c, b.ID, [4]byte{1, 2, 3, byte(i)}); {
			case errors.Is(err, cryptogram.ErrMismatch):
				judged.Add(1)
			case !errors.Is(err, load.ErrMisses):
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if judged.Load() != 10 {
		t.Errorf("%d guesses were judged", judged.Load())
	}
}
