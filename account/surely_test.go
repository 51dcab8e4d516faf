package account_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// ahead is a process whose clock is ahead, beside one that is right and can be down.
func (l *walletLab) ahead(by time.Duration, down *error) *account.Service {
	l.t.Helper()
	now := func() time.Time { return l.vault.Clock.Now().Add(by) }
	sure := func(context.Context) (time.Time, error) { return l.vault.Clock.Now().Add(min(by, 0)), *down }
	book := tapdb.New(l.db, now).With(l.events, account.Rules{Skew: 2 * time.Minute, Zone: shanghai}).By(sure)
	s, err := account.New(account.Config{
		Tokens: l.vault.Writer(), Keys: l.hsm, Journal: book, Gate: audit.Gate{Recorder: l.log}, Book: book, PINs: &l.pins, Lists: &l.lists,
		Estate: &estate{online: true, now: now}, Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai, Now: now, Sure: sure,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// TestClockAheadRefusesNoTap: a process whose clock is days or months ahead refuses no
// tap as too late, and leaves no operator to claim its money, while it is early by
// another clock; what is late by both is late. It decides nothing while that
// other clock cannot be asked, and asks it about nothing that is early by its own.
func TestClockAheadRefusesNoTap(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		by, after time.Duration // the clock's error; from the token's end to the upload
		reason    account.Reason
	}{{60 * day, time.Hour, ""}, {9 * day, time.Hour, ""}, {60 * day, 8 * day, account.LateManual}, {0, 31 * day, account.Late}} {
		l := newWalletLab(t)
		w, tok, slots := l.ready()
		plain := issueFor(t, l.lab, 7, tok.NotBefore, tok.NotAfter)
		x, y := l.ride(tok, slots[0]), l.tapOf(plain, 0, 1)
		before := l.funds(w).Balances
		var down error
		wrong := l.ahead(c.by, &down)
		l.pass(tok.NotAfter.Add(c.after).Sub(l.vault.Clock.Now()))
		send := func(taps ...account.Tap) ([]account.Result, error) {
			return wrong.Upload(t.Context(), gate, "gate-7", taps)
		}
		down = errors.New("the database is silent")
		if got, err := send(x); !errors.Is(err, down) {
			t.Errorf("%+v, without a second clock: %+v, %v", c, got, err)
		}
		down = nil
		got, err := send(x, y)
		if err != nil {
			t.Fatal(err)
		}
		l.want("of a wallet", got[0], map[bool]account.Outcome{true: account.Rejected, false: account.Posted}[c.reason == account.Late], c.reason)
		l.want("of none", got[1], map[bool]account.Outcome{true: account.Rejected, false: account.Posted}[c.reason == account.Late], map[account.Reason]account.Reason{account.Late: account.Late}[c.reason])
		f := l.funds(w).Balances
		if paid := before.Available + before.Reserve - f.Available - f.Reserve; paid != map[bool]int64{true: int64(x.Amount)}[c.reason == ""] {
			t.Errorf("%+v: the holder paid %d", c, paid)
		}
	}
	l := newWalletLab(t)
	_, tok, slots := l.ready()
	down := errors.New("the database is silent")
	if got, err := l.ahead(0, &down).Upload(t.Context(), gate, "gate-7", []account.Tap{l.ride(tok, slots[0])}); err != nil || got[0].Outcome != account.Posted {
		t.Errorf("in time: %+v, %v", got, err)
	}
}

// TestClockAheadFreesNoMoney: a process whose clock is two months ahead frees no money
// that phones still hold, whatever terminals said to it; it does so when the time has come.
func TestClockAheadFreesNoMoney(t *testing.T) {
	l := newWalletLab(t)
	w, _, _ := l.ready()
	var down error
	wrong := l.ahead(60*24*time.Hour, &down)
	held := l.funds(w).Balances
	if _, err := wrong.Sweep(t.Context()); err != nil || held.Reserve == 0 {
		t.Fatalf("%+v, %v", held, err)
	}
	if got := l.funds(w).Balances; got != held {
		t.Errorf("a clock that is ahead made %+v of %+v, while the phone holds its slots", got, held)
	}
	l.vault.Clock.Add(72 * time.Hour)
	down = errors.New("the database is silent")
	if _, err := wrong.Sweep(t.Context()); !errors.Is(err, down) {
		t.Errorf("without a second clock: %v", err)
	}
	down = nil
	if _, err := wrong.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if got := l.funds(w).Balances; got.Reserve != 0 {
		t.Errorf("when it was time: %+v", got)
	}
}

// TestClockAheadSuspendsWhatPays: a process whose clock is two days ahead suspends the
// tokens of a wallet whose slot paid twice: those that still pay by another clock.
func TestClockAheadSuspendsWhatPays(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	var down error
	wrong := l.ahead(48*time.Hour, &down)
	fork := l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 })
	if _, err := wrong.Upload(t.Context(), gate, "gate-7", []account.Tap{l.ride(tok, slots[0]), fork}); err != nil {
		t.Fatal(err)
	}
	l.stands("a fork", w, tok.Ref, account.WalletSuspended, token.ByRisk)
	if got := l.tokenState(tok.Ref).ChangedAt; got.After(l.vault.Clock.Now()) {
		t.Errorf("it is suspended from %v on, and it is %v", got, l.vault.Clock.Now())
	}
}

// twice makes the sign of a phone that is in two places: two taps within seconds, a while ago.
func (l *walletLab) twice(s *account.Service, ago time.Duration, tok token.Token, a, b credential.UD) {
	l.t.Helper()
	then := func(x *account.Tap) { x.At = cryptogram.DateTimeOf(l.vault.Clock.Now().Add(-ago).In(shanghai)) }
	other := l.ride(tok, b, then, func(x *account.Tap) { x.Terminal = [6]byte{0, 0, 0, 0, 0, 8} })
	if _, err := s.Upload(l.t.Context(), gate, "gate-7", []account.Tap{l.ride(tok, a, then), other}); err != nil {
		l.t.Fatal(err)
	}
}

// TestPINOfBeforeFreesNobody: what restricts a wallet is ended by a right PIN that is
// given after it, and by none before: neither when the clock of the process that found it
// is behind that moment, nor when something else had restricted the wallet already.
func TestPINOfBeforeFreesNobody(t *testing.T) {
	for name, find := range map[string]func(l *walletLab, w token.WalletID, tok token.Token, slots []credential.UD){
		"a clock behind": func(l *walletLab, _ token.WalletID, tok token.Token, slots []credential.UD) {
			l.pins.success = l.vault.Clock.Now()
			l.vault.Clock.Add(time.Hour)
			var down error
			l.twice(l.ahead(-70*time.Minute, &down), 71*time.Minute, tok, slots[0], slots[1])
		},
		"another reason": func(l *walletLab, w token.WalletID, tok token.Token, slots []credential.UD) {
			l.pins.wrong = 3
			if err := l.PINTried(l.t.Context(), w); err != nil {
				l.t.Fatal(err)
			}
			l.vault.Clock.Add(time.Hour)
			l.pins.wrong, l.pins.success = 0, l.vault.Clock.Now()
			l.vault.Clock.Add(time.Hour)
			l.twice(l.Service, 0, tok, slots[0], slots[1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newWalletLab(t)
			w, tok, slots := l.ready()
			find(l, w, tok, slots)
			if got := l.wallet(w); got.State != account.WalletRestricted || !slices.Contains(got.Holds, account.HoldRisk) {
				t.Fatalf("%s %v; found %v", got.State, got.Holds, l.signals(w))
			}
			next := l.bind(w)
			if got := l.sync(w, next.Ref, tierA).State; got != account.WalletRestricted {
				t.Errorf("a PIN of before made it %s", got)
			}
			l.vault.Clock.Add(time.Minute)
			l.pins.success = l.vault.Clock.Now()
			if got := l.sync(w, next.Ref, tierA).State; got != account.WalletActive {
				t.Errorf("a PIN of after left it %s", got)
			}
		})
	}
}

// TestClockAheadKeepsTheCeiling: what a wallet's old token may still pay counts against
// what the next one is given, though the clock of the process that grants is past its end.
func TestClockAheadKeepsTheCeiling(t *testing.T) {
	terms := account.Terms{Limit: 10000, Ceiling: 12000, KeyVersion: keyVersion, Layout: layout(10, 1000)}
	for _, off := range []time.Duration{0, 30 * time.Hour, -30 * time.Hour} {
		l := newWalletLab(t)
		w := l.open(50000, account.Opening{})
		old := l.bind(w)
		if s := l.sync(w, old.Ref, terms); s.Grant == nil || len(s.Grant.Slots) != 10 {
			t.Fatalf("%+v", s)
		}
		next := l.after(w, old)
		var down error
		node := l.ahead(off, &down)
		l.syncs++
		s, err := node.Sync(t.Context(), phone, l.request(w, next.Ref, terms))
		if err != nil {
			t.Fatal(err)
		}
		if f := l.funds(w); f.Authority("") > terms.Ceiling || off >= 0 && s.Grant == nil {
			t.Errorf("a clock that is off by %v: slots can cost %d, granted %+v", off, f.Authority(""), s.Grant)
		}
	}
}

// after renews a token ahead, and gives the next one to its wallet.
func (l *walletLab) after(w token.WalletID, ref token.Token) token.Token {
	l.t.Helper()
	old := l.tokenState(ref.Ref)
	o := l.vault.Order(l.t, 1)
	o.PAN, o.CardExpiry, o.Renews, o.Revision = token.PAN{}, "", old.Ref, old.Revision
	o.NotBefore, o.NotAfter = old.NotAfter, old.NotAfter.Add(24*time.Hour)
	next, err := l.vault.Writer().Renew(l.t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.Bind(l.t.Context(), phone, w, next.Ref, device); err != nil {
		l.t.Fatal(err)
	}
	return next
}
