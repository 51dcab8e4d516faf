package detokenize_test

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/hsm/hsmtest"
)

// TestHourThatIsThereTwice: a tap of the first of two hours that clocks show alike is
// not one of the second, which is still to come.
func TestHourThatIsThereTwice(t *testing.T) {
	l := newLab(t)
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 10, 25, 0, 20, 0, 0, time.UTC) // 02:20, as an hour later
	l.vault.Clock.Add(now.Sub(l.vault.Clock.Now()))
	accounts, err := account.New(account.Config{Tokens: l.vault.Writer(), Keys: l.hsm, Journal: tapdb.New(l.vault.DB, l.vault.Clock.Now),
		Gate: audit.Gate{Recorder: l.notes}, Realm: hsmtest.Realm, KeyVersions: []byte{1}, Zone: zone, Now: l.vault.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	l.with(func(c *detokenize.Config) { c.Zone, c.Evidence = zone, accounts })
	tok := l.issue(2)
	tap := l.tap(tok, 0, -6*60) // labs write Shanghai's time: 02:20 there
	if _, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: tok.Ref, Tap: &tap}, detokenize.Settlement); err != nil {
		t.Error(err)
	}
	ahead := l.tap(tok, 1, -5*60)
	l.refused("an hour ahead", bank, detokenize.Query{Ref: tok.Ref, Tap: &ahead}, detokenize.Settlement, "outside-window")
}

// TestResultOfTheFirstHour: where only the first of two hours that clocks show alike is
// within the token's window, the signed result says that one.
func TestResultOfTheFirstHour(t *testing.T) {
	l := newLab(t)
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC) // clocks go back from 02:00
	l.vault.Clock.Set(ends.Add(-24 * time.Hour))
	accounts, err := account.New(account.Config{Tokens: l.vault.Writer(), Keys: l.hsm, Journal: tapdb.New(l.vault.DB, l.vault.Clock.Now),
		Gate: audit.Gate{Recorder: l.notes}, Realm: hsmtest.Realm, KeyVersions: []byte{1}, Zone: zone, Now: l.vault.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	l.signing()
	l.with(func(c *detokenize.Config) { c.Zone, c.Evidence = zone, accounts })
	l.accounts = accounts
	tok := l.issue(2)
	tap := l.tap(tok, 0, 690) // 01:30 of the next day in Shanghai
	l.vault.Clock.Set(ends.Add(45 * time.Minute))
	want := time.Date(2026, 11, 1, 5, 30, 0, 0, time.UTC).In(zone).Format(time.RFC3339)
	for _, q := range []detokenize.Query{{Ref: tok.Ref, Tap: &tap, Signed: true}, {Ref: tok.Ref, Signed: true}} {
		if q.Tap == nil {
			q.TapID = l.upload(tap)
		}
		a, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement)
		if err != nil {
			t.Fatal(err)
		}
		if r := l.result(a.Result); r.TapAt != want {
			t.Errorf("the tap was made at %s, the result says %s", want, r.TapAt)
		}
	}
}
