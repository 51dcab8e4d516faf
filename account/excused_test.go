package account_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// bound makes a token under controls, good for so long, and gives it to a wallet.
func (l *walletLab) bound(w token.WalletID, c token.Controls, d time.Duration) token.Token {
	l.t.Helper()
	l.cards++
	o := l.vault.Order(l.t, l.cards)
	o.Controls = c
	if d != 0 {
		o.NotAfter = o.NotBefore.Add(d)
	}
	tok, err := l.vault.Writer().Issue(l.t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.Bind(l.t.Context(), phone, w, tok.Ref, device); err != nil {
		l.t.Fatal(err)
	}
	return tok
}

func (l *walletLab) suspend(ref token.Ref) {
	l.t.Helper()
	tok := l.tokenState(ref)
	if _, err := l.vault.Writer().Move(l.t.Context(), ref, tok.State, token.Suspend, l.vault.Clock.Now()); err != nil {
		l.t.Fatal(err)
	}
}

// TestExcusedUnderControls: a tap of a suspended token that is taken, as its terminal
// could not know of that, is judged by the token's controls like any other.
func TestExcusedUnderControls(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(10000, account.Opening{})
	tok := l.bound(w, token.Controls{MaxAmount: 199, MaxSum: 300}, 0)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	amount := func(fen token.Amount) func(*account.Tap) { return func(x *account.Tap) { x.Amount = fen } }
	l.vault.Clock.Add(time.Hour)
	l.want("first", l.one(l.ride(tok, slots[0], amount(150))), account.Posted, "")
	l.suspend(tok.Ref)
	l.vault.Clock.Add(time.Minute)
	l.want("nobody could know", l.one(l.ride(tok, slots[1], amount(100))), account.Posted, "")
	for i, tc := range []struct {
		fen     token.Amount
		control string
	}{{200, "control-amount"}, {51, "control-sum"}} {
		r := l.one(l.ride(tok, slots[2+i], amount(tc.fen)))
		if r.Outcome != account.Rejected || r.Reason != account.NotAllowed || r.Control != tc.control {
			t.Errorf("%s: %+v", tc.control, r)
		}
	}
	if b := l.funds(w).Balances; b.Available+b.Reserve != 10000-250 {
		t.Errorf("the holder has %+v", b)
	}
}

// TestLateExcusesNoSuspension: a tap of a wallet's token that comes late is refused when
// the token was suspended before it and its terminal's list said so.
func TestLateExcusesNoSuspension(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(10000, account.Opening{})
	tok := l.bound(w, token.Controls{}, 7*24*time.Hour)
	slots := l.sync(w, tok.Ref, tierA).Grant.Slots
	l.vault.Clock.Add(time.Hour)
	before := l.ride(tok, slots[0])
	l.vault.Clock.Add(time.Minute)
	l.suspend(tok.Ref)
	l.vault.Clock.Add(time.Minute)
	excused, late := l.ride(tok, slots[1], func(x *account.Tap) { x.ListVersion = 1 }), l.ride(tok, slots[2])
	l.lists.current = 1
	l.vault.Clock.Add(31 * 24 * time.Hour)
	l.want("before the suspension", l.one(before), account.Posted, account.LateManual)
	l.want("nobody could know", l.one(excused), account.Posted, account.LateManual)
	l.want("with an old list", l.one(late), account.Rejected, account.TokenSuspended)
}

// TestFreshListIsRemembered: a second use of a slot whose terminal is found to have held
// a list that was new enough is paid, and stays paid when the slot is looked at again.
func TestFreshListIsRemembered(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	l.lists.current = 1
	version := func(n uint64) func(*account.Tap) {
		return func(x *account.Tap) { x.Rand[3], x.Amount, x.ListVersion = 9, 300, n }
	}
	first := l.ride(tok, slots[0], func(x *account.Tap) { x.ListVersion = 1 })
	l.want("first", l.one(first), account.Posted, "")
	l.vault.Clock.Add(time.Minute)
	old, renewed := l.ride(tok, slots[0], version(0)), l.ride(tok, slots[0], version(1))
	lost := func(step string, fen int64) {
		t.Helper()
		if got := -l.sums(w)[ledger.FraudLoss]; got != fen {
			t.Errorf("%s: %d were paid for the second use, want %d", step, got, fen)
		}
	}
	l.one(old)
	lost("with an old list", 0)
	l.one(renewed)
	lost("with a new one", 300)
	l.one(first)
	lost("looked at again", 300)
	l.pass(50 * time.Hour)
	lost("released", 300)
	if r, err := l.Recon(t.Context(), operator, token.Day{Year: 2026, Month: 3, Day: 2}); err != nil || len(r.Mismatches) != 0 {
		t.Errorf("%+v, %v", r.Mismatches, err)
	}
}

// TestOnlyWhatIsOwedIsCharged: a debt that was paid before anybody asked for it is not
// asked for with the next one.
func TestOnlyWhatIsOwedIsCharged(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(0, account.Opening{RealName: true, Allowance: 5000, Quota: 6000})
	l.happen(w, account.CardBound, 0)
	tok := l.bind(w)
	l.happen(w, account.WebSpend, 700)
	l.happen(w, account.TopUp, 700)
	l.happen(w, account.WebSpend, 200)
	l.sync(w, tok.Ref, tierA)
	if got := l.amounts(w, event.ChargeRequested); !slices.Equal(got, []string{"200"}) {
		t.Errorf("asked for %v", got)
	}
}

// TestGivenBackOnce: what only a phone told of goes back once, and stays there.
func TestGivenBackOnce(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(10000, account.Opening{})
	tok, _ := l.toldByPhone(w)
	l.pass(tok.NotAfter.Add(7*24*time.Hour + time.Hour).Sub(l.vault.Clock.Now()))
	l.pass(0)
	if n, err := l.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("%d slots changed again, %v", n, err)
	}
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: 10000}) {
		t.Errorf("%+v", b)
	}
}
