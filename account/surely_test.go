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

// TestClockAheadFreesNoMoney: a process whose clock is two months ahead frees no money
// that phones still hold, whatever terminals said to it; it does so when the time has come.
func TestClockAheadFreesNoMoney(t *testing.T) {
	l := newWalletLab(t)
	w, _, _ := l.ready()
	ahead := func() time.Time { return l.vault.Clock.Now().Add(60 * 24 * time.Hour) }
	var down error
	sure := func(context.Context) (time.Time, error) { return l.vault.Clock.Now(), down }
	book := tapdb.New(l.db, ahead).With(l.events, account.Rules{Skew: 2 * time.Minute, Zone: shanghai})
	wrong, err := account.New(account.Config{
		Tokens: l.vault.Writer(), Keys: l.hsm, Journal: book, Gate: audit.Gate{Recorder: l.log}, Book: book, PINs: &l.pins, Lists: &l.lists,
		Estate: &estate{online: true, now: ahead}, Realm: hsmtest.Realm, KeyVersions: []byte{keyVersion}, Zone: shanghai, Now: ahead, Sure: sure,
	})
	if err != nil {
		t.Fatal(err)
	}
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
