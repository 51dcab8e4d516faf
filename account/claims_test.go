package account_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
)

// TestTwoClaimOneRecord: a record that comes under two names is charged once and
// paid to neither, whichever came first, until the terminal is registered and comes
// under that name.
func TestTwoClaimOneRecord(t *testing.T) {
	for _, names := range [][]string{{"gate-7", "gate-8"}, {"gate-8", "gate-7"}} {
		t.Run(fmt.Sprint(names), func(t *testing.T) { claimed(t, names) })
	}
}

func claimed(t *testing.T, names []string) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	l.vault.Clock.Add(time.Hour)
	tap := l.ride(tok, slots[0])
	before := l.funds(w).Balances
	l.want("the first", l.under(names[0], tap), account.Posted, "")
	for range 2 {
		got := l.under(names[1], tap)
		if l.want("the second", got, account.Duplicate, account.Disputed); !got.Good() {
			t.Error("who is paid says nothing of the payment")
		}
	}
	l.want("the first again", l.under(names[0], tap), account.Duplicate, account.Disputed)
	l.invariants()
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: before.Available + 800, Reserve: before.Reserve - 1000}) {
		t.Errorf("%+v became %+v", before, b)
	}
	l.owed("disputed", account.Unresolved, account.Mismatch{What: "operator", Name: "gate-7 and gate-8", Want: 200})
	cases, err := l.Cases(t.Context(), operator, "", "", 10)
	if err != nil || len(cases) != 1 || cases[0].Kind != string(detect.Dispute) || cases[0].Wallet != "" || cases[0].Terminal != tap.Terminal {
		t.Errorf("%+v, %v", cases, err)
	}
	if got := l.wallet(w); got.State != account.WalletActive {
		t.Errorf("the holder's wallet is %s", got.State)
	}
	l.owners[tap.Terminal] = "gate-8"
	l.want("another's terminal", l.under("gate-7", tap), account.Rejected, account.OtherOperator)
	l.owed("still disputed", account.Unresolved, account.Mismatch{What: "operator", Name: "gate-7 and gate-8", Want: 200})
	l.want("whose it is", l.under("gate-8", tap), account.Duplicate, "")
	l.want("another's terminal", l.under("gate-7", tap), account.Rejected, account.OtherOperator)
	l.owed("resolved", "gate-8")
	l.invariants()
}

// TestARegisteredTerminal: a record of it counts under no other name, whichever
// comes first.
func TestARegisteredTerminal(t *testing.T) {
	l := newWalletLab(t)
	_, tok, slots := l.ready()
	l.vault.Clock.Add(time.Hour)
	tap := l.ride(tok, slots[0])
	l.owners[tap.Terminal] = "gate-8"
	l.want("another's", l.under("gate-7", tap), account.Rejected, account.OtherOperator)
	l.want("the owner's", l.under("gate-8", tap), account.Posted, "")
	l.want("another's", l.under("gate-7", tap), account.Rejected, account.OtherOperator)
	l.owed("registered", "gate-8")
	other := l.ride(tok, slots[1], func(x *account.Tap) { x.Terminal[0] = 9 })
	l.want("a terminal that is not registered", l.under("gate-7", other), account.Posted, "")
}

// under uploads one record under a name.
func (l *walletLab) under(name string, tap account.Tap) account.Result {
	l.t.Helper()
	got, err := l.Upload(l.t.Context(), gate, name, []account.Tap{tap})
	if err != nil || len(got) != 1 {
		l.t.Fatal(got, err)
	}
	return got[0]
}

// owed checks that 200 fen are owed under one name, and what does not agree.
func (l *walletLab) owed(what, name string, bad ...account.Mismatch) {
	l.t.Helper()
	y, m, d := l.vault.Clock.Now().In(shanghai).Date()
	r, err := l.Recon(l.t.Context(), operator, token.Day{Year: y, Month: m, Day: d})
	if err != nil || !slices.Equal(r.Operators, []account.OperatorDay{{Operator: name, Records: 200, Posted: 200}}) || !slices.Equal(r.Mismatches, bad) {
		l.t.Errorf("%s: %+v, %+v, %v", what, r.Operators, r.Mismatches, err)
	}
}
