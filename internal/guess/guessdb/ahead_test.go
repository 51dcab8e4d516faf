package guessdb_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/guess/guessdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestClockAheadForgetsNoGuess: at a process whose clock is days or months ahead a
// guess is counted as well, and what others counted today still stands: nobody may
// guess again there after each guess here.
func TestClockAheadForgetsNoGuess(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, open func(testing.TB) *store.DB) {
		db, at := open(t), time.Now()
		right := guessdb.New(db, func() time.Time { return at })
		shown := wrong(1, 0, guess.Max)
		if _, _, err := right.Once(t.Context(), "thief", shown); err != nil {
			t.Fatal(err)
		}
		for _, off := range []time.Duration{48 * time.Hour, 100 * 24 * time.Hour} {
			ahead := guessdb.New(db, func() time.Time { return at.Add(off) })
			if _, _, err := ahead.Miss(t.Context(), "thief", guess.Name{1}); err != nil {
				t.Fatal(err)
			}
			if s, passed, err := ahead.Once(t.Context(), "thief", shown); err != nil || passed || s.Total != 1 {
				t.Errorf("%v ahead the same records count again: %+v, %v, %v", off, s, passed, err)
			}
			if s, err := right.Standing(t.Context(), "thief"); err != nil || !s.Barred[guess.Name{1}] {
				t.Errorf("after a guess %v ahead: %+v, %v", off, s, err)
			}
		}
	})
}
