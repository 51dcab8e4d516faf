package account_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
)

// TestCountersSpent: a token that has no counters left for new slots is answered without;
// what its phone tells is settled, and its sync does not come for ever.
func TestCountersSpent(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(20000, account.Opening{})
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	for _, n := range []int{60000, 5000, 500, 5} { // what is left is fewer than a sync takes
		for range 5 {
			if _, err := l.vault.Writer().TakeCounters(t.Context(), tok.Ref, n); err != nil {
				break
			}
		}
	}
	l.pass(time.Hour)
	var ridden []account.Tap
	for _, ud := range slots[:6] {
		ridden = append(ridden, l.ride(tok, ud))
		l.pass(time.Minute)
	}
	s := l.sync(w, tok.Ref, tierA, words(slots, ridden...)...)
	if s.Result != account.SyncClean || s.Grant != nil || len(s.Decisions) != len(ridden) || s.Balances.Count != len(slots)-len(ridden) {
		t.Errorf("%+v", s)
	}
	l.invariants()
}
