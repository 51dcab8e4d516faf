package account_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
)

// TestSyncThatWaited: a phone signs a sync that does not get through, rides, and sends it
// again once it can: that is how a lost answer costs nothing. What it said was true when
// it said it. Whatever its clock shows, it did not lie, and its holder is not held back.
func TestSyncThatWaited(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"right": 0, "an hour behind": -time.Hour, "years behind": -20 * 365 * 24 * time.Hour,
		"five minutes ahead": 5 * time.Minute, "hours ahead": 7 * time.Hour, "years ahead": 20 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			l := newWalletLab(t)
			w := l.open(20000, account.Opening{})
			tok := l.bind(w)
			slots := l.sync(w, tok.Ref, tierA).Grant.Slots
			l.pass(time.Hour)
			l.syncs++
			waiting := l.request(w, tok.Ref, tierA, words(slots)...)
			waiting.Clock = waiting.Clock.Add(wrong)
			l.pass(5 * time.Minute)
			ridden := l.ride(tok, slots[0])
			l.pass(5 * time.Minute)
			l.want("the gate's record", l.one(ridden), account.Posted, "")
			s, err := l.Sync(t.Context(), phone, waiting)
			if err != nil {
				t.Fatal(err)
			}
			l.pass(time.Minute)
			if s.Grant != nil {
				slots = append(slots, s.Grant.Slots...)
			}
			s2 := l.sync(w, tok.Ref, tierA, words(slots, ridden)...)
			if got := l.wallet(w); s.Result != account.SyncClean || s2.Result != account.SyncClean || got.State != account.WalletActive {
				t.Errorf("%s, then %s: the wallet is %s for %v", s.Result, s2.Result, got.State, l.signals(w))
			}
		})
	}
}

// TestLieOfAClockAhead: a phone whose clock is ahead is still held to what it can only
// have said since its last bundle, and what it threw away stays thrown away.
func TestLieOfAClockAhead(t *testing.T) {
	for name, lie := range map[string]struct {
		status account.ReportStatus
		before bool // the slot was used before the newest bundle
		want   account.SyncResult
	}{
		"unused, though used before the newest bundle": {account.ReportLive, true, account.SyncContradiction},
		"unused, used nobody knows when":               {account.ReportLive, false, account.SyncClean},
		"thrown away, and used":                        {account.ReportDiscarded, false, account.SyncContradiction},
	} {
		t.Run(name, func(t *testing.T) {
			l := newWalletLab(t)
			w := l.open(20000, account.Opening{})
			tok := l.bind(w)
			slots := l.sync(w, tok.Ref, tierA).Grant.Slots
			l.pass(time.Hour)
			used := l.ride(tok, slots[0])
			if lie.before {
				l.pass(time.Hour)
				other := l.ride(tok, slots[1])
				l.syncs++
				r := l.request(w, tok.Ref, tierA, words(slots, other)...) // of slot 0 it says: unused, long ago
				r.Clock = time.Unix(1, 0)
				s, err := l.Sync(t.Context(), phone, r)
				if err != nil || s.Grant == nil {
					t.Fatalf("%+v, %v", s, err)
				}
				slots = append(slots, s.Grant.Slots...)
			}
			l.pass(5 * time.Minute)
			l.syncs++
			r := l.request(w, tok.Ref, tierA, words(slots)...)
			r.Clock, r.Reports[0].Status = r.Clock.AddDate(9, 0, 0), lie.status
			if lie.before {
				r.Reports = append(r.Reports[:1], r.Reports[2:]...)
			}
			if _, err := l.Sync(t.Context(), phone, r); err != nil {
				t.Fatal(err)
			}
			l.want("the gate's record", l.one(used), account.Posted, "")
			f := l.funds(w)
			if _, lied := f.Lots[0].Contradicted(2 * time.Minute); lied != (lie.want == account.SyncContradiction) {
				t.Errorf("lied: %v, want %s", lied, lie.want)
			}
		})
	}
}
