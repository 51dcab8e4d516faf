package detokenize_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

func TestDetokenize(t *testing.T) {
	l := newLab(t)
	good := l.tap(l.tok, 0, 10)
	id := l.upload(good)
	whole := l.tap(l.tok, 1, 20)
	for name, q := range map[string]detokenize.Query{
		"reference and tap id":            {Ref: l.tok.Ref, TapID: id},
		"number and tap id":               {Number: l.tok.Number, TapID: id},
		"reference and whole tap":         {Ref: l.tok.Ref, Tap: &whole},
		"number and whole tap":            {Number: l.tok.Number, Tap: &whole}, // posted before by another name: a duplicate proves too
		"a whole tap that was uploaded":   {Ref: l.tok.Ref, Tap: &good},
		"the same question a second time": {Ref: l.tok.Ref, TapID: id},
	} {
		for _, purpose := range detokenize.Purposes {
			a, err := l.Detokenize(t.Context(), bank, q, purpose)
			if err != nil || a.PAN.Reveal() != vaulttest.Card(t, 1).Reveal() || a.Expiry != "2912" || a.Ref != l.tok.Ref || len(a.TapID) != 32 {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			want := audit.Entry{Caller: bank, Action: access.Detokenize, Object: string(l.tok.Ref), Outcome: audit.Allowed, Reason: purpose}
			if got := l.notes.last(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: recorded %+v", name, got)
			}
		}
	}
	if s := fmt.Sprintf("%+v", l.notes.entries); strings.Contains(s, vaulttest.Card(t, 1).Reveal()) || strings.Contains(s, l.tok.Number.Digits()) {
		t.Error("the record holds a number")
	}
}

// refused holds a query to one refusal outside, one reason inside, and a card
// that stays closed.
func (l *lab) refused(name string, c access.Caller, q detokenize.Query, purpose, reason string) {
	l.t.Helper()
	l.refusedBy(name, access.Detokenize, l.Detokenize, c, q, purpose, reason)
}

// refusedBy is refused for any way to ask.
func (l *lab) refusedBy(name string, action access.Action, ask func(context.Context, access.Caller, detokenize.Query, string) (detokenize.Answer, error),
	c access.Caller, q detokenize.Query, purpose, reason string) {
	l.t.Helper()
	before := l.opener.opened
	a, err := ask(l.t.Context(), c, q, purpose)
	if err != detokenize.ErrRefused || fault.KindOf(err) != fault.Refused {
		l.t.Errorf("%s: %v, want the refusal alone", name, err)
	}
	if a != (detokenize.Answer{}) || l.opener.opened != before {
		l.t.Errorf("%s: the card was opened", name)
	}
	if e := l.notes.last(); e.Outcome != audit.Refused || e.Reason != reason || e.Action != action {
		l.t.Errorf("%s: recorded %+v, want reason %s", name, e, reason)
	}
}

func TestRefusals(t *testing.T) {
	l := newLab(t)
	id := l.upload(l.tap(l.tok, 0, 10))
	other := l.issue(2) // its window begins an hour later
	l.vault.Clock.Add(time.Minute)
	otherID := l.upload(l.tap(other, 0, 0))
	const s = detokenize.Settlement
	tap := func(change func(*account.Tap)) *account.Tap {
		v := l.tap(l.tok, 2, 15)
		change(&v)
		return &v
	}
	noNumber, err := token.ParseNumber("9100010000000000")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		c      access.Caller
		q      detokenize.Query
		reason string
	}{
		{"no such reference", bank, detokenize.Query{Ref: "trAAAAAAAAAAAAAAAAAAAAAAAAAA", TapID: id}, "unknown"},
		{"a card number as reference", bank, detokenize.Query{Ref: token.Ref(vaulttest.Card(t, 1).Reveal()), TapID: id}, "unknown"},
		{"no such number", bank, detokenize.Query{Number: noNumber, TapID: id}, "unknown"},
		{"another requestor's", rival, detokenize.Query{Ref: l.tok.Ref, TapID: id}, "other-requestor"},
		{"no such tap", bank, detokenize.Query{Ref: l.tok.Ref, TapID: strings.Repeat("0", 32)}, "no-tap"},
		{"another token's tap id", bank, detokenize.Query{Ref: l.tok.Ref, TapID: otherID}, "no-tap"},
		{"another token's tap", bank, detokenize.Query{Ref: other.Ref, Tap: tap(func(*account.Tap) {})}, "other-token"},
		{"MAC2 altered", bank, detokenize.Query{Ref: l.tok.Ref, Tap: tap(func(v *account.Tap) { v.MAC2[0]++ })}, "tap-rejected-tamper"},
		{"TAC altered", bank, detokenize.Query{Ref: l.tok.Ref, Tap: tap(func(v *account.Tap) { v.TAC[0]++ })}, "tap-posted-wrong_pin"},
		{"MAC2 and TAC altered", bank, detokenize.Query{Ref: l.tok.Ref, Tap: tap(func(v *account.Tap) { v.MAC2[0]++; v.TAC[0]++ })}, "tap-rejected-forged"},
		{"amount altered", bank, detokenize.Query{Ref: l.tok.Ref, Tap: tap(func(v *account.Tap) { v.Amount++ })}, "tap-rejected-forged"},
		{"a date that is none", bank, detokenize.Query{Ref: l.tok.Ref, Tap: tap(func(v *account.Tap) { v.At[1] = 0x99; v.At[2] = 0x13 })}, "malformed-tap"},
	} {
		l.refused(c.name, c.c, c.q, s, c.reason)
	}
	if s := fmt.Sprintf("%+v", l.notes.entries); strings.Contains(s, vaulttest.Card(t, 1).Reveal()) {
		t.Error("the record repeats a card number that stood in the wrong place")
	}
	early, late, ahead := l.tap(l.tok, 3, -3), l.tap(l.tok, 3, 24*60+2), l.tap(l.tok, 3, 90)
	for name, v := range map[string]*account.Tap{"before the window": &early, "after the window": &late, "in the future": &ahead} {
		l.refused("a tap "+name, bank, detokenize.Query{Ref: l.tok.Ref, Tap: v}, s, "outside-window")
	}
}

func TestStatesAndWindows(t *testing.T) {
	l := newLab(t)
	id := l.upload(l.tap(l.tok, 0, 10))
	q := detokenize.Query{Ref: l.tok.Ref, TapID: id}
	ok := func(name, purpose string) {
		t.Helper()
		if _, err := l.Detokenize(t.Context(), bank, q, purpose); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.move(l.tok.Ref, token.Suspend)
	l.refused("suspended", bank, q, detokenize.Settlement, "suspended")
	l.move(l.tok.Ref, token.Resume)
	ok("resumed", detokenize.Settlement)

	l.vault.Clock.Set(l.tok.NotAfter.Add(-time.Second))
	ok("last second", detokenize.Authorisation)
	l.vault.Clock.Set(l.tok.NotAfter)
	l.refused("window closed, to authorise", bank, q, detokenize.Authorisation, "expired")
	ok("window closed, to settle", detokenize.Settlement)
	ok("window closed, to dispute", detokenize.Dispute)
	whole := l.tap(l.tok, 1, 30)
	if a, err := l.Detokenize(t.Context(), bank, detokenize.Query{Number: l.tok.Number, Tap: &whole}, detokenize.Settlement); err != nil || a.TapID == "" {
		t.Errorf("a tap made in the window, shown after it: %v", err)
	}
	l.vault.Clock.Set(l.tok.NotAfter.Add(30 * 24 * time.Hour))
	ok("thirty days later", detokenize.Settlement)
	l.vault.Clock.Add(time.Second)
	l.refused("and a second", bank, q, detokenize.Settlement, "expired")

	l.vault.Clock.Set(l.tok.NotBefore.Add(-time.Second))
	l.refused("before its window", bank, q, detokenize.Settlement, "future")
	l.vault.Clock.Set(l.tok.NotBefore.Add(time.Hour))
	l.move(l.tok.Ref, token.Delete)
	l.refused("deleted", bank, q, detokenize.Settlement, "deleted")
}

func TestWhoMayAsk(t *testing.T) {
	l := newLab(t)
	whole := l.tap(l.tok, 0, 10)
	for name, q := range map[string]detokenize.Query{
		"tap id":    {Ref: l.tok.Ref, TapID: "x"},
		"whole tap": {Ref: l.tok.Ref, Tap: &whole},
	} {
		for _, c := range []access.Caller{gate, {}, {ID: "bank", Role: access.Issuer, Requestor: bankID},
			{ID: "o", Role: access.Operator, Scopes: access.Actions}, {ID: "w", Role: access.Wallet, Scopes: access.Actions}} {
			if _, err := l.Detokenize(t.Context(), c, q, detokenize.Settlement); !errors.Is(err, access.ErrDenied) {
				t.Errorf("%s, %s: %v", name, c.Role, err)
			}
			if e := l.notes.last(); e.Outcome != audit.Refused || e.Reason != "denied" {
				t.Errorf("%s, %s: recorded %+v", name, c.Role, e)
			}
		}
	}
}

func TestMalformedQueries(t *testing.T) {
	l := newLab(t)
	whole := l.tap(l.tok, 0, 10)
	for name, q := range map[string]detokenize.Query{
		"nothing":      {},
		"no token":     {TapID: "x"},
		"no tap":       {Ref: l.tok.Ref},
		"two names":    {Ref: l.tok.Ref, Number: l.tok.Number, TapID: "x"},
		"two evidence": {Ref: l.tok.Ref, TapID: "x", Tap: &whole},
	} {
		if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, purpose := range []string{"", "curiosity", "Settlement"} {
		if _, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &whole}, purpose); !errors.Is(err, detokenize.ErrPurpose) {
			t.Errorf("purpose %q: %v", purpose, err)
		}
	}
	if l.opener.opened != 0 {
		t.Error("a card was opened")
	}
}

// TestProofIsBound: a proof is good for who made it, and the zero one for
// nobody.
func TestProofIsBound(t *testing.T) {
	l := newLab(t)
	whole := l.tap(l.tok, 0, 10)
	v, err := l.Verify(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, Tap: &whole})
	if err != nil || l.opener.opened != 0 {
		t.Fatalf("verifying opened %d cards, %v", l.opener.opened, err)
	}
	for name, c := range map[string]struct {
		c access.Caller
		v detokenize.Verified
	}{"zero": {bank, detokenize.Verified{}}, "another caller's": {rival, v}} {
		if _, err := l.Reveal(t.Context(), c.c, c.v, detokenize.Dispute); err != detokenize.ErrRefused || l.notes.last().Reason != "unverified" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := l.Reveal(t.Context(), gate, v, detokenize.Dispute); !errors.Is(err, access.ErrDenied) {
		t.Errorf("a terminal: %v", err)
	}
	if _, err := l.Reveal(t.Context(), bank, v, "fun"); !errors.Is(err, detokenize.ErrPurpose) {
		t.Errorf("another purpose: %v", err)
	}
	if l.opener.opened != 0 {
		t.Fatal("a card was opened")
	}
	if a, err := l.Reveal(t.Context(), bank, v, detokenize.Dispute); err != nil || a.PAN.IsZero() {
		t.Fatal(err)
	}
}

// TestNoRecordNoCard: each record on the way can fail; then nothing is opened.
func TestNoRecordNoCard(t *testing.T) {
	l := newLab(t)
	id := l.upload(l.tap(l.tok, 0, 10))
	whole := l.tap(l.tok, 1, 20)
	down := fault.New(fault.AuditDown, "no room")
	for _, c := range []struct {
		name string
		fail func(audit.Entry) bool
		q    detokenize.Query
		c    access.Caller
	}{
		{"the purpose", func(e audit.Entry) bool { return e.Reason == detokenize.Settlement }, detokenize.Query{Ref: l.tok.Ref, TapID: id}, bank},
		{"the judging", func(e audit.Entry) bool { return e.Reason == "judge-tap" }, detokenize.Query{Ref: l.tok.Ref, Tap: &whole}, bank},
		{"a refusal", func(e audit.Entry) bool { return e.Outcome == audit.Refused }, detokenize.Query{Ref: l.tok.Ref, TapID: "x"}, bank},
		{"a denial", func(e audit.Entry) bool { return true }, detokenize.Query{Ref: l.tok.Ref, TapID: id}, gate},
	} {
		l.notes.fail = func(e audit.Entry) error {
			if c.fail(e) {
				return down
			}
			return nil
		}
		if _, err := l.Detokenize(t.Context(), c.c, c.q, detokenize.Settlement); !errors.Is(err, down) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if l.opener.opened != 0 {
		t.Fatal("a card was opened")
	}
}

func TestVaultFails(t *testing.T) {
	l := newLab(t)
	id := l.upload(l.tap(l.tok, 0, 10))
	l.opener.fail = fault.New(fault.HSMUnavailable, "gone")
	a, err := l.Detokenize(t.Context(), bank, detokenize.Query{Ref: l.tok.Ref, TapID: id}, detokenize.Settlement)
	if fault.KindOf(err) != fault.HSMUnavailable || a != (detokenize.Answer{}) {
		t.Errorf("%+v, %v", a, err)
	}
	if err := l.vault.DB.Close(); err != nil {
		t.Fatal(err)
	}
	whole := l.tap(l.tok, 1, 20)
	for name, q := range map[string]detokenize.Query{
		"tap id":    {Ref: l.tok.Ref, TapID: id},
		"number":    {Number: l.tok.Number, TapID: id},
		"whole tap": {Ref: l.tok.Ref, Tap: &whole},
	} {
		if _, err := l.Detokenize(t.Context(), bank, q, detokenize.Settlement); fault.KindOf(err) != fault.StoreDown {
			t.Errorf("%s on a closed database: %v", name, err)
		}
	}
}
