package vaulttest

import (
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// Second are the second versions of the keys that rows can be brought under.
func Second() []keyref.Ref {
	return []keyref.Ref{{Usage: keyref.PANSeal, Version: 2}, {Usage: keyref.PANIndex, Version: 2}, {Usage: keyref.RangeKEK, Version: 2}}
}

// rotated configures the second versions.
func rotated(c *vault.Config) { c.Keys = vault.Keys{Seal: 2, Index: 2, RangeKEK: 2} }

// cardTests are the part of the contract that is about cards and their keys.
var cardTests = map[string]func(*testing.T, *Fixture){
	"a replaced card":               replacedCard,
	"what cannot be replaced":       notReplaced,
	"replaced once per attempt":     replacedOnce,
	"replaced in a race":            replaceRace,
	"events of a replaced card":     replacedTold,
	"dates that become the card's":  datesApart,
	"rewrapped":                     rewrapped,
	"rewrapped while serving":       rewrapWhileServing,
	"rewrapping, killed":            rewrapKilled,
	"rewrapping what is damaged":    rewrapUnreadable,
	"two versions of the index key": twoIndexes,
	"an older index, late":          lateIndex,
	"an older index, replaced":      lateIndexReplaced,
	"an older index, of before":     lateFormer,
	"an index of no key":            strayIndex,
	"retired keys":                  retiredKeys,
	"a retired key of ranges":       retiredRangeKey,
	"a key that was destroyed":      destroyedKey,
}

func replace(t testing.TB, f *Fixture, old, pan int, a access.Attempt) token.Card {
	t.Helper()
	c, err := f.Writer().ReplaceCard(t.Context(), Card(t, old), Card(t, pan), "3112", "bank", a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// behind holds the card behind a token to the nth one.
func behind(t testing.TB, f *Fixture, ref token.Ref, n int, expiry token.Expiry) {
	t.Helper()
	pan, e, err := f.Opener().PAN(t.Context(), ref)
	if err != nil || pan.Reveal() != Card(t, n).Reveal() || e != expiry {
		t.Fatalf("behind %s: %v until %s, %v", ref, pan, e, err)
	}
}

func replacedCard(t *testing.T, f *Fixture) {
	a, b, other := issue(t, f, 1), issue(t, f, 1), issue(t, f, 2)
	c := replace(t, f, 1, 7, access.Attempt{})
	if c.PAR != a.PAR || c.Last4 != Card(t, 7).Last4() || c.Living != 2 {
		t.Fatalf("%+v", c)
	}
	for _, ref := range []token.Ref{a.Ref, b.Ref} {
		behind(t, f, ref, 7, "3112")
	}
	behind(t, f, other.Ref, 2, "2912")
	if tok, err := f.Reader().Token(t.Context(), a.Ref); err != nil || tok.PAR != a.PAR || tok.PANLast4 != c.Last4 || tok.Number.Digits() != a.Number.Digits() {
		t.Fatalf("%+v, %v", tok, err)
	}
	if d := issue(t, f, 7); d.PAR != a.PAR {
		t.Fatal("a token of the new card has a reference of its own")
	}
	_, err := f.Writer().Issue(t.Context(), f.Order(t, 1), "bank", access.Attempt{})
	kind(t, err, fault.CardReplaced)
	for _, n := range []int{1, 7} {
		if c, err := f.Reader().Card(t.Context(), Card(t, n)); err != nil || c.PAR != a.PAR || c.Living != 3 {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	replace(t, f, 1, 7, access.Attempt{}) // done already
	replace(t, f, 7, 8, access.Attempt{})
	replace(t, f, 8, 1, access.Attempt{}) // back to the first
	behind(t, f, a.Ref, 1, "3112")
	if tok := issue(t, f, 1); tok.PAR != a.PAR {
		t.Fatal("the card lost its reference")
	}
	if n := count(t, f, "former_cards"); n != 2 {
		t.Fatalf("%d former numbers", n)
	}
	f.Clock.Add(48 * time.Hour)
	if c, err := f.Reader().Card(t.Context(), Card(t, 8)); err != nil || c.Living != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
}

func notReplaced(t *testing.T, f *Fixture) {
	a, b := issue(t, f, 1), issue(t, f, 2)
	w := f.Writer()
	refused := func(want fault.Kind, old, pan token.PAN) {
		t.Helper()
		_, err := w.ReplaceCard(t.Context(), old, pan, "3112", "bank", access.Attempt{Key: "k", Digest: [32]byte{1}})
		kind(t, err, want)
	}
	refused(fault.CardUnknown, Card(t, 3), Card(t, 4))
	refused(fault.CardKnown, Card(t, 1), Card(t, 2))
	refused(fault.Malformed, Card(t, 1), pan(t, "62284800000"))
	refused(fault.CardIsToken, Card(t, 1), pan(t, "910001123456789"))
	replace(t, f, 2, 5, access.Attempt{})
	refused(fault.CardKnown, Card(t, 1), Card(t, 2)) // was another card's
	refused(fault.CardUnknown, Card(t, 2), Card(t, 6))
	behind(t, f, a.Ref, 1, "2912")
	behind(t, f, b.Ref, 5, "3112")
	_, err := f.Reader().Card(t.Context(), Card(t, 9))
	kind(t, err, fault.CardUnknown)
	if n := count(t, f, "attempts"); n != 0 {
		t.Fatalf("%d attempts of refusals", n)
	}
}

// pan completes digits by their check digit.
func pan(t testing.TB, digits string) token.PAN {
	t.Helper()
	p, err := token.ParsePAN(digits + string(token.LuhnDigit(digits)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func replacedOnce(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	a := access.Attempt{Key: "k", Digest: [32]byte{1}}
	first := replace(t, f, 1, 2, a)
	replace(t, f, 2, 3, access.Attempt{})
	if again := replace(t, f, 1, 2, a); again.PAR != first.PAR || again.Last4 != Card(t, 3).Last4() {
		t.Fatalf("%+v after %+v", again, first)
	}
	behind(t, f, tok.Ref, 3, "3112")
	_, err := f.Writer().ReplaceCard(t.Context(), Card(t, 1), Card(t, 4), "3112", "bank", access.Attempt{Key: "k", Digest: [32]byte{2}})
	kind(t, err, fault.KeyReused)
}

// replaceRace: replacements of one card, requests for its old and new numbers
// and renewals of its date run at once, and one account stays one account.
func replaceRace(t *testing.T, f *Fixture) {
	first := issue(t, f, 1)
	var mu sync.Mutex
	made := []token.Token{first}
	racing(24, func(i int) {
		if i%3 == 0 {
			_, err := f.Writer().ReplaceCard(t.Context(), Card(t, 1), Card(t, 2), "3112", "bank", access.Attempt{})
			if err != nil {
				t.Error(err)
			}
			return
		}
		o := f.Order(t, 1)
		o.CardExpiry = token.Expiry([]string{"2911", "2912"}[i%2])
		tok, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err == nil {
			mu.Lock()
			made = append(made, tok)
			mu.Unlock()
		} else if fault.KindOf(err) != fault.CardReplaced {
			t.Error(err)
		}
	})
	for _, tok := range made {
		behind(t, f, tok.Ref, 2, "3112")
		if tok.PAR != first.PAR {
			t.Fatal("one account has two references")
		}
	}
	if n := count(t, f, "cards"); n != 1 {
		t.Fatalf("%d cards", n)
	}
}

// kept is an outbox that tests look into.
type kept struct{ all []event.Event }

func (k *kept) Emit(_ *gorm.DB, e event.Event) error { k.all = append(k.all, e); return nil }

func (k *kept) EmitAll(_ *gorm.DB, all []event.Event) error {
	k.all = append(k.all, all...)
	return nil
}

func replacedTold(t *testing.T, f *Fixture) {
	a, b := issue(t, f, 1), issue(t, f, 1)
	gone := issue(t, f, 1)
	storetest.Exec(t, f.DB, "UPDATE tokens SET state = 'DELETED' WHERE ref = ?", string(gone.Ref))
	out := &kept{}
	replace(t, f.Again(t, func(c *vault.Config) { c.Events = out }), 1, 2, access.Attempt{})
	told := map[token.Ref]bool{}
	for _, e := range out.all {
		if e.Type == event.CardReplaced && e.Check() == nil {
			told[e.Ref] = true
		}
	}
	if len(out.all) != 2 || !told[a.Ref] || !told[b.Ref] {
		t.Fatalf("told %+v", out.all)
	}
}

// datesApart: a card on file lives long enough for its card to be renewed to the
// month that the token shows.
func datesApart(t *testing.T, f *Fixture) {
	out := &kept{}
	f = f.Again(t, func(c *vault.Config) { c.Events = out })
	expiring := func(n int, expiry token.Expiry) token.Token {
		o := f.Order(t, n)
		o.Expiry, o.NotAfter = expiry, f.Clock.Now().Add(4*365*24*time.Hour)
		tok, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	replaced, renewed, apart, gone := expiring(1, "3112"), expiring(2, "3112"), expiring(1, "3111"), expiring(1, "3112")
	storetest.Exec(t, f.DB, "UPDATE tokens SET state = 'DELETED' WHERE ref = ?", string(gone.Ref))
	out.all = nil
	replace(t, f, 1, 3, access.Attempt{})
	o := f.Order(t, 2)
	o.CardExpiry = "3112"
	if _, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[token.Ref]token.Expiry{replaced.Ref: "3201", renewed.Ref: "3201", apart.Ref: "3111", gone.Ref: "3112"} {
		if tok, err := f.Reader().Token(t.Context(), ref); err != nil || tok.Expiry != want {
			t.Errorf("%s: %s, not %s, %v", ref, tok.Expiry, want, err)
		}
	}
	told := 0
	for _, e := range out.all {
		if e.Type == event.Updated && e.Data["token_expiry_date"] == "3201" && e.Check() == nil {
			told++
		}
	}
	if told != 2 {
		t.Errorf("told of %d: %+v", told, out.all)
	}
}
