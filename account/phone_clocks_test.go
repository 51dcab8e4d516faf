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

// TestClockThatJumps: as above, and the clock jumped since the last sync by less than the
// sync has to wait: nothing shows that it is ahead. The phone is given nothing until its
// next sync, which shows the ride, and again when that one has to wait as well.
func TestClockThatJumps(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(20000, account.Opening{})
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	l.pass(time.Hour)
	var ridden []account.Tap
	for i, want := range []account.SyncResult{account.SyncGaps, account.SyncGaps, account.SyncGaps} {
		l.syncs++
		waiting := l.request(w, tok.Ref, tierA, words(slots, ridden...)...)
		waiting.Clock = waiting.Clock.Add(10 * time.Minute)
		l.pass(5 * time.Minute)
		ridden = append(ridden, l.ride(tok, slots[i]))
		l.pass(15 * time.Minute)
		l.want("the gate's record", l.one(ridden[i]), account.Posted, "")
		s, err := l.Sync(t.Context(), phone, waiting)
		if err != nil || s.Result != want || s.Grant != nil {
			t.Errorf("ride %d: %+v, %v", i, s, err)
		}
		l.stands("the ride", w, tok.Ref, account.WalletActive)
	}
	l.pass(time.Minute)
	if s := l.sync(w, tok.Ref, tierA, words(slots, ridden...)...); s.Result != account.SyncClean || s.Grant == nil || len(s.Grant.Slots) != len(ridden) {
		t.Errorf("all rides shown: %+v, %v", s, l.signals(w))
	}
}

// TestDoubtEnds: a phone that says nothing more of a slot is not held back for ever.
func TestDoubtEnds(t *testing.T) {
	var now = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	one := account.Lot{UnusedAt: now}
	for name, tc := range map[string]struct {
		e      account.Evidence
		doubts bool
	}{
		"before":              {account.Evidence{TACGood: true, Moment: now.Add(-3 * time.Minute)}, true},
		"as clocks may":       {account.Evidence{TACGood: true, Moment: now.Add(-time.Minute)}, false},
		"shown by the phone":  {account.Evidence{TACGood: true, Moment: now.Add(-3 * time.Minute), Sources: account.ByPhone}, false},
		"nobody knows whose":  {account.Evidence{Moment: now.Add(-3 * time.Minute)}, false},
		"only once it is two": {account.Evidence{TACGood: true, Moment: now.Add(-3 * time.Minute), Sources: account.ByTerminal}, true},
	} {
		l := one
		l.Add(tc.e)
		_, doubts := l.Doubted(2 * time.Minute)
		_, lied := l.Contradicted(2 * time.Minute)
		if doubts != tc.doubts || lied {
			t.Errorf("%s: doubted %t, lied %t", name, doubts, lied)
		}
	}
}

// TestUnused: of the words of a phone the last but one is sure, in whatever order and
// however often they come.
func TestUnused(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n)*1000, 0) }
	for _, order := range [][]int{{1, 2, 3}, {3, 2, 1}, {2, 3, 1, 3, 2}, {1, 1, 3, 3, 2, 2}, {3, 3, 1, 2}} {
		var l account.Lot
		for _, n := range order {
			l.Unused(at(n), time.Time{})
		}
		if !l.UnusedAt.Equal(at(3)) || !l.SurelyUnused.Equal(at(2)) {
			t.Errorf("%v: unused at %v, surely at %v", order, l.UnusedAt, l.SurelyUnused)
		}
	}
	var l account.Lot
	for range 3 {
		l.Unused(at(5), at(1))
	}
	if !l.UnusedAt.Equal(at(5)) || !l.SurelyUnused.Equal(at(1)) {
		t.Errorf("one sync: unused at %v, surely at %v", l.UnusedAt, l.SurelyUnused)
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
