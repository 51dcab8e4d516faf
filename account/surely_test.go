package account_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
)

// ahead is a process whose clock is ahead, beside one that is right and can be down.
func (l *walletLab) ahead(by time.Duration, down *error) *account.Service {
	l.t.Helper()
	now := func() time.Time { return l.vault.Clock.Now().Add(by) }
	sure := func(context.Context) (time.Time, error) { return l.vault.Clock.Now(), *down }
	book := tapdb.New(l.db, now).With(l.events, account.Rules{Skew: 2 * time.Minute, Zone: shanghai})
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
