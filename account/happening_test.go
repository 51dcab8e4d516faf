package account_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// TestHappenings: each event takes effect once; web spending sees what is free,
// and a phone that holds more than the account would give it is asked to sync.
func TestHappenings(t *testing.T) {
	l := newWalletLab(t)
	w, _, _ := l.ready() // 20000 fen, 10000 of them held
	spend := account.Happening{ID: "order-1", Kind: account.WebSpend, Amount: 4000}
	for range 3 {
		if b, err := l.Happen(t.Context(), bank, w, spend); err != nil || b.Available != 6000 || b.Reserve != 10000 {
			t.Errorf("%+v, %v", b, err)
		}
	}
	spend.Amount++
	if _, err := l.Happen(t.Context(), bank, w, spend); !errors.Is(err, account.ErrHappeningReused) {
		t.Errorf("another event of the same id: %v", err)
	}
	other, _, _ := l.ready()
	spend.Amount--
	if b, err := l.Happen(t.Context(), bank, other, spend); err != nil || b.Available != 6000 {
		t.Errorf("another wallet's event of the same id: %+v, %v", b, err)
	}
	if slices.Contains(l.told(w), "wallet.sync_requested") {
		t.Error("asked to sync although the tier is what bounds the phone")
	}
	for amount, want := range map[uint32]error{6001: account.ErrReserved, 16000: account.ErrReserved, 16001: ledger.ErrFunds} {
		h := account.Happening{ID: "too-much", Kind: account.WebSpend, Amount: token.Amount(amount)}
		if _, err := l.Happen(t.Context(), bank, w, h); !errors.Is(err, want) {
			t.Errorf("spending %d: %v", amount, err)
		}
	}
	for _, bad := range []account.Happening{{}, {ID: "x", Kind: "GIFT", Amount: 1}, {ID: "x", Kind: account.TopUp}, {ID: "x", Kind: account.CardBound, Amount: 1},
		{ID: "x y", Kind: account.TopUp, Amount: 1}, {ID: "x", Kind: account.TopUp, Amount: 10_000_001}} {
		if _, err := l.Happen(t.Context(), bank, w, bad); !errors.Is(err, account.ErrHappening) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	l.invariants()
}

// TestChargedOnce: every debt is asked for once, however often the phone syncs
// before it is paid; what could not be charged is asked for again.
func TestChargedOnce(t *testing.T) {
	l := newWalletLab(t)
	neighbour := l.open(0, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	theirs := l.bind(neighbour)
	l.happen(neighbour, account.CardBound, 0)
	others := l.sync(neighbour, theirs.Ref, tierA).Grant.Slots
	owes := func() { // also the neighbour, whose card is charged for it
		t.Helper()
		l.vault.Clock.Add(time.Hour)
		l.want("a neighbour's", l.one(l.ride(theirs, others[0], func(x *account.Tap) { x.Amount = 300 })), account.Posted, "")
		others = others[1:]
		l.vault.Clock.Add(time.Minute)
		l.sync(neighbour, theirs.Ref, tierA, words(others)...)
	}
	owes()
	w := l.open(0, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	tok := l.bind(w)
	l.happen(w, account.CardBound, 0)
	s := l.sync(w, tok.Ref, tierA)
	if s.Grant == nil || len(s.Grant.Slots) < 3 {
		t.Fatalf("%+v", s.Grant)
	}
	slots := s.Grant.Slots
	ride := func(amount token.Amount) {
		t.Helper()
		l.vault.Clock.Add(time.Hour)
		l.want("on credit", l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Amount = amount })), account.Posted, "")
		slots = slots[1:]
	}
	asks := func(what string, want ...string) {
		t.Helper()
		l.vault.Clock.Add(time.Minute)
		l.sync(w, tok.Ref, tierA, words(slots)...)
		all, err := l.events.List(t.Context(), event.Filter{Wallet: w}, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range all {
			if e.Type == event.ChargeRequested {
				got = append(got, e.Data["amount"])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: asked for %v, want %v", what, got, want)
		}
	}
	ride(700)
	asks("a debt", "700")
	owes()
	asks("under way", "700")
	ride(200)
	asks("another debt", "700", "200")
	l.happen(w, account.TopUp, 700)
	asks("the first is paid", "700", "200")
	l.happen(w, account.ChargeFailed, 0)
	asks("the second failed", "700", "200", "200")
	asks("and is under way again", "700", "200", "200")
	l.happen(w, account.TopUp, 200)
	asks("all is paid", "700", "200", "200")
	l.invariants()
}

// TestCredit: a holder known by name may go below nothing as far as was agreed,
// for slots and for web spending, until a charge fails.
func TestCredit(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(1000, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	tok := l.bind(w)
	if s := l.sync(w, tok.Ref, tierA); s.Grant == nil || len(s.Grant.Slots) != 1 {
		t.Errorf("credit without a card: %+v", s.Grant)
	}
	l.happen(w, account.CardBound, 0)
	l.vault.Clock.Add(time.Minute)
	f := l.funds(w)
	s := l.sync(w, tok.Ref, tierA, account.Report{Ctr: f.Lots[0].Ctr(), Status: account.ReportLive})
	if s.Grant == nil || len(s.Grant.Slots) != 5 || s.Grant.Held != 0 {
		t.Fatalf("%+v", s)
	}
	l.vault.Clock.Add(time.Hour)
	l.want("on credit", l.one(l.ride(tok, s.Grant.Slots[0], func(x *account.Tap) { x.Amount = 700 })), account.Posted, "")
	if b := l.funds(w).Balances; b.Due != 700 {
		t.Errorf("%+v", b)
	}
	l.sync(w, tok.Ref, tierA, append(words(s.Grant.Slots[1:]), account.Report{Ctr: f.Lots[0].Ctr(), Status: account.ReportLive})...)
	l.happen(w, account.CardUnbound, 0)
	if got := l.told(w); !slices.Contains(got, "wallet.charge_requested") || !slices.Contains(got, "wallet.sync_requested") {
		t.Errorf("%v", got)
	}
	l.happen(w, account.ChargeFailed, 0)
	if got := l.wallet(w); got.State != account.WalletRestricted || got.Allowance != 0 || !slices.Equal(got.Holds, []account.Hold{account.HoldCharge}) {
		t.Errorf("%+v", got)
	}
	if b := l.happen(w, account.TopUp, 1000); b.Due != 0 || b.Available != 300 {
		t.Errorf("paid back: %+v", b)
	}
	if got := l.wallet(w); got.State != account.WalletActive {
		t.Errorf("what was owed is paid, and the wallet is %s", got.State)
	}
	l.invariants()
}

// TestChargeFailsOfNothing: that a charge failed holds nobody back who has paid by then
// in another way: no payment would ever let go of that. Nothing is lent any more.
func TestChargeFailsOfNothing(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(0, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	l.happen(w, account.CardBound, 0)
	if b := l.happen(w, account.WebSpend, 700); b.Due != 700 {
		t.Fatalf("%+v", b)
	}
	l.happen(w, account.TopUp, 700)
	l.happen(w, account.ChargeFailed, 0)
	if got := l.wallet(w); got.State != account.WalletActive || len(got.Holds) != 0 || got.Allowance != 0 {
		t.Errorf("what was owed was paid: %+v", got)
	}
}
