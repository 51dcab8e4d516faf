package account_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// TestOneWallet takes a wallet through a day: top-up, first slots, a ride, the
// terminal's upload, a sync, the end of the day.
func TestOneWallet(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(12000, account.Opening{})
	tok := l.bind(w)
	first := l.sync(w, tok.Ref, tierA)
	if first.Result != account.SyncClean || first.Grant == nil || len(first.Grant.Slots) != 10 || first.Grant.Held != 10000 {
		t.Fatalf("%+v", first)
	}
	if b := first.Balances; b.Available != 2000 || b.Reserve != 10000 || b.Authority != 10000 || b.Remaining != 10000 || b.Count != 10 {
		t.Errorf("%+v", b)
	}
	slots := first.Grant.Slots
	l.vault.Clock.Add(time.Hour)
	tap := l.ride(tok, slots[0])
	l.vault.Clock.Add(time.Minute)
	l.want("terminal", l.one(tap), account.Posted, "")
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: 2800, Reserve: 9000}) {
		t.Errorf("after a ride: %+v", b)
	}
	second := l.sync(w, tok.Ref, tierA, words(slots, tap)...)
	if second.Result != account.SyncClean || second.Grant == nil || len(second.Grant.Slots) != 1 || second.Grant.Slots[0].Ctr != slots[9].Ctr+1 {
		t.Fatalf("%+v", second)
	}
	if d := second.Decisions; len(d) != 1 || d[0].Outcome != account.Duplicate || d[0].TapID == "" {
		t.Errorf("%+v", d)
	}
	taps, err := l.Taps(t.Context(), bank, w)
	if err != nil || len(taps) != 1 || taps[0].Status != "MATCHED" || taps[0].Slot != account.SlotSettled {
		t.Errorf("%+v, %v", taps, err)
	}
	l.pass(24 * time.Hour) // the token has ended, its evidence may still come
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: 1800, Reserve: 10000}) {
		t.Errorf("%+v", b)
	}
	l.pass(24 * time.Hour)
	if b := l.funds(w).Balances; b != (ledger.Balances{Available: 11800}) {
		t.Errorf("at the end: %+v", b)
	}
	if r, err := l.Recon(t.Context(), operator, token.Day{Year: 2026, Month: 3, Day: 2}); err != nil || len(r.Mismatches) != 0 ||
		len(r.Operators) != 1 || r.Operators[0] != (account.OperatorDay{Operator: "gate-7", Records: 200, Posted: 200}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestOpenAndClose is the life of a wallet without a phone.
func TestOpenAndClose(t *testing.T) {
	l := newWalletLab(t)
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	o := account.Opening{Requestor: "12345678901", Attempt: a}
	one, err := l.Open(t.Context(), phone, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Open(t.Context(), phone, o)
	if err != nil || again.ID != one.ID || one.State != account.WalletActive || one.Quota != 20000 {
		t.Errorf("%+v, %+v, %v", one, again, err)
	}
	for name, bad := range map[string]account.Opening{
		"credit without a name":   {Requestor: "12345678901", Allowance: 1},
		"too much credit":         {Requestor: "12345678901", RealName: true, Allowance: 5001},
		"no requestor":            {},
		"the key, something else": {Requestor: "12345678901", Attempt: access.Attempt{Key: "k", Digest: [32]byte{2}}},
	} {
		if _, err := l.Open(t.Context(), phone, bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	other := bank
	other.Requestor = "10987654321"
	for name, c := range map[string]access.Caller{"another requestor": other, "an issuer of none": {ID: "x", Role: access.Issuer, Scopes: bank.Scopes}} {
		if _, err := l.Get(t.Context(), c, one.ID); !errors.Is(err, account.ErrNoWallet) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Restore(t.Context(), phone, one.ID, "", accessNone); !errors.Is(err, access.ErrDenied) {
		t.Errorf("restored by an app: %v", err)
	}
	l.happen(one.ID, account.TopUp, 500)
	closed, err := l.Close(t.Context(), bank, one.ID, accessNone)
	if err != nil || closed.State != account.WalletClosed {
		t.Errorf("%+v, %v", closed, err)
	}
	if _, err := l.Close(t.Context(), bank, one.ID, accessNone); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if b := l.funds(one.ID).Balances; b != (ledger.Balances{}) {
		t.Errorf("%+v", b)
	}
	if _, err := l.Restore(t.Context(), operator, one.ID, "", accessNone); !errors.Is(err, account.ErrState) {
		t.Errorf("a closed wallet was restored: %v", err)
	}
	if _, err := l.Happen(t.Context(), bank, one.ID, account.Happening{ID: "x", Kind: account.TopUp, Amount: 1}); !errors.Is(err, account.ErrState) {
		t.Errorf("paid into a closed wallet: %v", err)
	}
	if got := l.told(one.ID); !slices.Equal(got, []string{"wallet.opened", "wallet.closed", "wallet.paid_out"}) {
		t.Errorf("%v", got)
	}
	l.invariants()
	w := l.open(1000, account.Opening{})
	tok := l.bind(w)
	l.sync(w, tok.Ref, tierA)
	if _, err := l.Close(t.Context(), bank, w, accessNone); !errors.Is(err, account.ErrState) {
		t.Errorf("closed with live slots: %v", err)
	}
}

func TestBind(t *testing.T) {
	l := newWalletLab(t)
	w, other := l.open(0, account.Opening{}), l.open(0, account.Opening{})
	tok := l.bind(w)
	if err := l.Bind(t.Context(), phone, w, tok.Ref, device); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := l.Bind(t.Context(), phone, other, tok.Ref, device); !errors.Is(err, account.ErrBound) {
		t.Errorf("to another wallet: %v", err)
	}
	if err := l.Bind(t.Context(), phone, w, tok.Ref, "dvBAAAAAAAAAAAAAAAAAAAAAAAAA"); !errors.Is(err, account.ErrBound) {
		t.Errorf("to another device: %v", err)
	}
	if err := l.Bind(t.Context(), phone, w, l.issue(1).Ref, device); !errors.Is(err, account.ErrBound) {
		t.Errorf("a token whose slots were handed out: %v", err)
	}
	if err := l.Bind(t.Context(), phone, w, tok.Ref, "phone"); fault.KindOf(err) != fault.Malformed {
		t.Errorf("no device: %v", err)
	}
	fresh := l.vaultToken()
	if err := l.Bind(t.Context(), phone, w, fresh, stranger); !errors.Is(err, account.ErrDevice) {
		t.Errorf("a device that nobody enrolled: %v", err)
	}
	if err := l.Bind(t.Context(), phone, w, fresh, device); err != nil {
		t.Errorf("after a device that nobody enrolled: %v", err)
	}
	foreign := l.open(0, account.Opening{Requestor: "10987654321"})
	if err := l.Bind(t.Context(), phone, foreign, l.vaultToken(), device); fault.KindOf(err) != fault.TokenUnknown {
		t.Errorf("another requestor's: %v", err)
	}
}

// vaultToken makes a token that is new.
func (l *walletLab) vaultToken() token.Ref {
	l.t.Helper()
	l.cards++
	tok, err := l.vault.Writer().Issue(l.t.Context(), l.vault.Order(l.t, l.cards), "bank", access.Attempt{})
	if err != nil {
		l.t.Fatal(err)
	}
	return tok.Ref
}

// TestProgress: only what can have happened is believed, and only from whoever
// speaks for the terminal.
func TestProgress(t *testing.T) {
	l := newWalletLab(t)
	number, now := [6]byte{0x31, 0, 0, 0, 0, 7}, l.vault.Clock.Now()
	far, err := l.Progress(t.Context(), gate, "gate-7", number, now)
	if err != nil || !far.Equal(now) {
		t.Fatalf("%v, %v", far, err)
	}
	if far, err = l.Progress(t.Context(), gate, "gate-7", number, now.Add(-time.Hour)); err != nil || !far.Equal(now) {
		t.Errorf("an earlier word: %v, %v", far, err)
	}
	if _, err := l.Progress(t.Context(), gate, "gate-7", number, now.Add(121*time.Second)); !errors.Is(err, account.ErrAhead) {
		t.Errorf("the future: %v", err)
	}
	bound := gate
	bound.Terminal = "gate-8"
	for name, c := range map[string]access.Caller{"another terminal": bound, "a phone": phone} {
		if _, err := l.Progress(t.Context(), c, "gate-7", number, now); !errors.Is(err, access.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProgressOfAnothersTerminal: whoever is not paid for a terminal's records does
// not say that they have all come.
func TestProgressOfAnothersTerminal(t *testing.T) {
	l := newWalletLab(t)
	number, now := [6]byte{0x31, 0, 0, 0, 0, 7}, l.vault.Clock.Now()
	l.owners[number] = "gate-8"
	if _, err := l.Progress(t.Context(), gate, "gate-7", number, now); !errors.Is(err, access.ErrDenied) {
		t.Errorf("another's terminal: %v", err)
	}
	before := now.Add(-time.Hour)
	if far, err := l.Progress(t.Context(), gate, "gate-8", number, before); err != nil || !far.Equal(before) {
		t.Errorf("its own: %v, %v", far, err)
	}
}

// TestAnsweredTheSameAgain: who asks again, having lost the answer, is told the same, to the
// last digit of its times.
func TestAnsweredTheSameAgain(t *testing.T) {
	l := newWalletLab(t)
	l.vault.Clock.Add(345 * time.Microsecond) // of which rows keep milliseconds
	w := l.open(0, account.Opening{})
	restricted := l.open(0, account.Opening{RealName: true, Allowance: 100})
	l.happen(restricted, account.CardBound, 0)
	l.happen(restricted, account.WebSpend, 100)
	l.happen(restricted, account.ChargeFailed, 0)
	for name, ask := range map[string]func(access.Attempt) (account.Wallet, error){
		"opened": func(a access.Attempt) (account.Wallet, error) {
			return l.Open(t.Context(), bank, account.Opening{Attempt: a})
		},
		"restored": func(a access.Attempt) (account.Wallet, error) {
			return l.Restore(t.Context(), operator, restricted, "r", a)
		},
		"closed": func(a access.Attempt) (account.Wallet, error) { return l.Close(t.Context(), phone, w, a) },
	} {
		first, err := ask(access.Attempt{Key: name})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if again, err := ask(access.Attempt{Key: name}); err != nil || !reflect.DeepEqual(again, first) {
			t.Errorf("%s: %+v, then %+v, %v", name, first, again, err)
		}
	}
}
