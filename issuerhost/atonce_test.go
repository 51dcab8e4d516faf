package issuerhost_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/issuerhost"
)

// TestCryptogramsGuessedAtOnce: who shows hundreds of wrong cryptograms of a card at the
// same moment, by every call that judges them, has no more judged than are left, and is
// told of no more by all processes; two processes judge four more at most.
func TestCryptogramsGuessedAtOnce(t *testing.T) {
	for _, c := range []struct{ processes, most int64 }{{1, 32}, {2, 32 + guess.Abreast}} {
		h := newHouse(t)
		var calculated, wrong atomic.Int64
		h.cfg.Keys = computing{h.cfg.Keys, func() { calculated.Add(1) }}
		processes := make([]*issuerhost.Service, c.processes)
		for i := range processes {
			h.open()
			processes[i] = h.Service
		}
		shown := forged(t)
		show := func(i int64) {
			var err error
			if s := processes[i%c.processes]; i%3 == 0 {
				err = s.Verify(t.Context(), bank, shown)
			} else {
				_, err = s.Authorise(t.Context(), bank, issuerhost.Request{Transaction: shown, Silent: true}, access.Attempt{})
			}
			switch fault.KindOf(err) {
			case fault.Refused:
				wrong.Add(1)
			case fault.TooFast:
			default:
				t.Error(err)
			}
		}
		for range 30 {
			show(0)
		}
		each := calculated.Load() / 30
		var calls sync.WaitGroup
		for i := range int64(200) {
			calls.Go(func() { show(i) })
		}
		calls.Wait()
		if n := calculated.Load() / each; n > c.most || n < 32 {
			t.Errorf("%d were judged by %d processes, %d may be", n, c.processes, c.most)
		}
		if wrong.Load() != 32 {
			t.Errorf("%d were told to be wrong by %d processes", wrong.Load(), c.processes)
		}
	}
}

// TestQuestionsAtOnce: so are questions why a cryptogram does not hold.
func TestQuestionsAtOnce(t *testing.T) {
	h := newHouse(t)
	var answered atomic.Int64
	shown := forged(t)
	shown.Data = emv.Data{} // there is little to explain
	ask := func() {
		switch _, err := h.Explain(t.Context(), bank, shown); {
		case err == nil:
			answered.Add(1)
		case fault.KindOf(err) != fault.TooFast:
			t.Error(err)
		}
	}
	var calls sync.WaitGroup
	for range 250 {
		calls.Go(ask)
	}
	calls.Wait()
	if answered.Load() != 200 {
		t.Errorf("%d questions were answered", answered.Load())
	}
}
