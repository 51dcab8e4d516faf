package account_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// amounts lists the amounts that events of one type told of a wallet.
func (l *walletLab) amounts(w token.WalletID, kind event.Type) (all []string) {
	l.t.Helper()
	told, err := l.events.List(l.t.Context(), event.Filter{Wallet: w}, 0, 100)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range told {
		if e.Type == kind {
			all = append(all, e.Data["amount"])
		}
	}
	return all
}

// sums is what stands in each account of the ledger for one wallet.
func (l *walletLab) sums(w token.WalletID) map[ledger.Account]int64 {
	l.t.Helper()
	sums, err := ledgerdb.Sums(l.db.Read(l.t.Context()), w)
	if err != nil {
		l.t.Fatal(err)
	}
	return sums
}

// toldByPhone makes a tap of a new token that only the phone has told of.
func (l *walletLab) toldByPhone(w token.WalletID) (token.Token, account.Tap) {
	l.t.Helper()
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	l.vault.Clock.Add(time.Hour)
	tap := l.ride(tok, slots[0])
	l.vault.Clock.Add(time.Minute)
	l.sync(w, tok.Ref, tierA, words(slots, tap)...)
	return tok, tap
}

// TestClosedWalletKeepsNothing: what only a phone told of goes back to the holder
// of a wallet that was closed meanwhile, once, as what closing pays out does.
func TestClosedWalletKeepsNothing(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(12000, account.Opening{})
	tok, tap := l.toldByPhone(w)
	l.pass(tok.NotAfter.Add(25 * time.Hour).Sub(l.vault.Clock.Now()))
	if _, err := l.Close(t.Context(), bank, w, accessNone); err != nil {
		t.Fatal(err)
	}
	l.invariants()
	if got := l.sums(w); got[ledger.Suspense] != 200 || got[ledger.ExternalCash] != -200 {
		t.Errorf("closed: %v", got)
	}
	for range 3 {
		l.pass(7 * 24 * time.Hour)
		if got := l.sums(w); got[ledger.Suspense] != 0 || got[ledger.ExternalCash] != 0 {
			t.Errorf("after the time of grace: %v", got)
		}
	}
	if got := l.amounts(w, event.PaidOut); !slices.Equal(got, []string{"11800", "200"}) {
		t.Errorf("told to pay out %v", got)
	}
	l.want("the terminal, late", l.one(tap), account.Duplicate, "")
	l.invariants()
}

// TestClosedWalletOwes: a record that comes late leaves a debt with a holder known
// by name, which is charged at once; what is then paid in pays it, and the rest
// goes back.
func TestClosedWalletOwes(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(1000, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	l.happen(w, account.CardBound, 0)
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	l.vault.Clock.Add(time.Hour)
	tap := l.ride(tok, slots[0], func(x *account.Tap) { x.Amount = 300 })
	if _, err := l.Close(t.Context(), bank, w, accessNone); !errors.Is(err, account.ErrState) {
		t.Errorf("closed with slots: %v", err)
	}
	l.pass(tok.NotAfter.Add(25 * time.Hour).Sub(l.vault.Clock.Now()))
	if _, err := l.Close(t.Context(), bank, w, accessNone); err != nil {
		t.Fatal(err)
	}
	l.want("late", l.one(tap), account.Posted, "")
	l.want("again", l.one(tap), account.Duplicate, "")
	l.invariants()
	if b := l.funds(w).Balances; b != (ledger.Balances{Due: 300}) {
		t.Errorf("%+v", b)
	}
	if got := l.amounts(w, event.ChargeRequested); !slices.Equal(got, []string{"300"}) {
		t.Errorf("asked to charge %v", got)
	}
	if b := l.happen(w, account.TopUp, 500); b.Due != 0 || b.Available != 0 {
		t.Errorf("%+v", b)
	}
	l.invariants()
	if got := l.amounts(w, event.PaidOut); !slices.Equal(got, []string{"1000", "200"}) {
		t.Errorf("told to pay out %v", got)
	}
	if _, err := l.Happen(t.Context(), bank, w, account.Happening{ID: "late", Kind: account.TopUp, Amount: 1}); !errors.Is(err, account.ErrState) {
		t.Errorf("paid in when nothing is owed: %v", err)
	}
}

// TestCloseWaitsForCredit: a slot that is all credit holds nothing, and yet its tap
// may be on its way.
func TestCloseWaitsForCredit(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(0, account.Opening{RealName: true, Allowance: 1000})
	l.happen(w, account.CardBound, 0)
	l.toldByPhone(w)
	if _, err := l.Close(t.Context(), bank, w, accessNone); !errors.Is(err, account.ErrState) {
		t.Errorf("closed while a tap is on its way: %v", err)
	}
}

// TestAReleaseEndsAHold: money that was held pays what is owed, and then a failed
// charge holds the wallet back no more.
func TestAReleaseEndsAHold(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(1000, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	l.happen(w, account.CardBound, 0)
	tok := l.bind(w)
	s := l.sync(w, tok.Ref, tierA)
	if s.Grant == nil || len(s.Grant.Slots) < 2 || s.Grant.Held != 1000 {
		t.Fatalf("%+v", s.Grant)
	}
	l.vault.Clock.Add(time.Hour)
	l.want("on credit", l.one(l.ride(tok, s.Grant.Slots[1], func(x *account.Tap) { x.Amount = 700 })), account.Posted, "")
	l.happen(w, account.ChargeFailed, 0)
	if got := l.wallet(w); got.State != account.WalletRestricted {
		t.Fatalf("%+v", got)
	}
	l.pass(tok.NotAfter.Add(25 * time.Hour).Sub(l.vault.Clock.Now()))
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: 300}) {
		t.Errorf("%+v", b)
	}
	if got := l.wallet(w); got.State != account.WalletActive || len(got.Holds) != 0 {
		t.Errorf("nothing is owed, and the wallet is %s for %v", got.State, got.Holds)
	}
	if got := l.told(w); !slices.Contains(got, "wallet.restored") {
		t.Errorf("%v", got)
	}
}

// TestAPhonesClockEndsNoGap: a phone that says nothing of a slot gets no new ones
// for a day, whatever its clock says.
func TestAPhonesClockEndsNoGap(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(50000, account.Opening{})
	tok := l.bind(w)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	for n, wait := range []time.Duration{time.Hour, time.Minute} {
		l.vault.Clock.Add(wait)
		l.syncs++
		r := l.request(w, tok.Ref, tierA, words(slots[1:])...)
		r.Clock = r.Clock.Add(-48 * time.Hour)
		s, err := l.Sync(t.Context(), phone, r)
		if err != nil || s.Result != account.SyncGaps || s.Grant != nil {
			t.Errorf("sync %d: %+v, %v", n, s, err)
		}
	}
}

// TestClosedWalletTakesPaymentsOnly: of a closed wallet that owes something, what pays it is
// taken, and nothing else happens to it.
func TestClosedWalletTakesPaymentsOnly(t *testing.T) {
	f := account.Funds{Wallet: account.Wallet{ID: "wlAAAAAAAAAAAAAAAAAAAAAAAAAA", State: account.WalletClosed, RealName: true, Card: true},
		Balances: ledger.Balances{Due: 300}}
	for kind, want := range map[account.HappeningKind]error{account.TopUp: nil, account.Refund: nil, account.WebSpend: account.ErrState,
		account.CardBound: account.ErrState, account.CardUnbound: account.ErrState, account.ChargeFailed: account.ErrState} {
		if _, _, err := f.Effect(account.Happening{ID: "e", Kind: kind, Amount: 100}); !errors.Is(err, want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
