package account_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// TestSyncsLearnNoPIN: who has a phone's slots and its signing key, but not its
// PIN, tries TACs on one good MAC2, dated to before the holder's last right PIN so
// that no window counts. Nine are told of, and then nothing, right or wrong.
func TestSyncsLearnNoPIN(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	real := l.ride(tok, slots[0])
	l.vault.Clock.Add(time.Minute)
	l.pins.success = l.vault.Clock.Now()
	l.vault.Clock.Add(time.Minute)
	told := 0
	for i := range 2 * account.MostWrong {
		x := real
		x.TAC[0] ^= byte(i + 1)
		if d := l.sync(w, tok.Ref, tierA, words(slots, x)...).Decisions; d[0].Outcome != account.Rejected {
			told++
		}
	}
	if told != account.MostWrong {
		t.Errorf("%d guesses were told of", told)
	}
	l.refusedTap("the right one", w, tok, slots, real)
	// The right PIN, given online, ends it.
	l.vault.Clock.Add(time.Minute)
	l.pins.success = l.vault.Clock.Now()
	l.vault.Clock.Add(time.Minute)
	if d := l.sync(w, tok.Ref, tierA, words(slots, real)...).Decisions; d[0].Outcome != account.Posted || d[0].Reason != "" {
		t.Errorf("after a right PIN: %+v", d)
	}
}

// refusedTap says that a phone is told nothing of a tap.
func (l *walletLab) refusedTap(name string, w token.WalletID, tok token.Token, slots []credential.UD, taps ...account.Tap) {
	l.t.Helper()
	for _, d := range l.sync(w, tok.Ref, tierA, words(slots, taps...)...).Decisions {
		if d.Outcome != account.Rejected || d.Reason != account.TokenSuspended {
			l.t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestOneSyncLearnsNoPIN: a PIN for each slot of a bundle, all in one sync.
func TestOneSyncLearnsNoPIN(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	var taps []account.Tap
	for i, s := range slots {
		x := l.ride(tok, s)
		if i < account.MostWrong {
			x = wrong(x)
		}
		taps = append(taps, x)
	}
	s := l.sync(w, tok.Ref, tierA, words(slots, taps...)...)
	if d := s.Decisions[account.MostWrong]; d.Outcome != account.Rejected || s.State != account.WalletSuspended {
		t.Errorf("after nine wrong ones the right one is %+v, the wallet %s", d, s.State)
	}
}

// TestBadMAC2SaysNothingOfTAC: a phone makes up as many records without a good
// MAC2 as it likes; whether their TAC holds is not to be seen.
func TestBadMAC2SaysNothingOfTAC(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	good := l.ride(tok, slots[0])
	good.MAC2[0] ^= 1
	for _, x := range []account.Tap{wrong(good), good} {
		s := l.sync(w, tok.Ref, tierA, words(slots, x)...)
		if d := s.Decisions[0]; d != (account.Result{Outcome: account.Rejected, Reason: account.Forged}) || s.State != account.WalletActive {
			t.Errorf("%+v, %s", d, s.State)
		}
	}
}

// TestSpoiledTAC: a holder's own software gives a reader a good MAC2 and a TAC that
// does not hold, and tells of the right one in a sync. The ride was given, and is
// paid, whichever comes first and whichever terminal the phone names.
func TestSpoiledTAC(t *testing.T) {
	for _, tc := range []struct {
		name   string
		reader bool // its record comes first
		named  func(*account.Tap)
	}{
		{"the reader first", true, func(*account.Tap) {}},
		{"the phone first", false, func(*account.Tap) {}},
		{"another terminal is named", true, func(x *account.Tap) { x.Terminal = [6]byte{9, 9} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newWalletLab(t)
			w, tok, slots := l.ready()
			steps := []func(){
				func() { l.one(wrong(l.ride(tok, slots[0]))) },
				func() { l.sync(w, tok.Ref, tierA, words(slots, l.ride(tok, slots[0], tc.named))...) },
			}
			if !tc.reader {
				slices.Reverse(steps)
			}
			for _, do := range steps {
				do()
			}
			for range 10 {
				l.pass(24 * time.Hour)
			}
			sums, err := ledgerdb.Sums(l.db.Read(t.Context()), "")
			if err != nil || sums[ledger.OperatorPayable] != 200 || sums[ledger.Suspense] != 0 {
				t.Errorf("%v, %v", sums, err)
			}
			l.stands("after a right TAC", w, tok.Ref, account.WalletActive)
		})
	}
}
