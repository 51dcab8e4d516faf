package vaulttest

import (
	"context"
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
	"two versions of the index key": twoIndexes,
	"retired keys":                  retiredKeys,
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

func rewrap(t testing.TB, f *Fixture) (done int64) {
	t.Helper()
	if err := f.Rewrapper().Run(t.Context(), func(n int64) { done = n }); err != nil {
		t.Fatal(err)
	}
	if left, err := f.Rewrapper().Left(t.Context()); err != nil || left != 0 {
		t.Fatalf("%d rows left, %v", left, err)
	}
	return done
}

func rewrapped(t *testing.T, f *Fixture) {
	var refs []token.Ref
	for n := range 5 {
		refs = append(refs, issue(t, f, n).Ref)
	}
	replace(t, f, 0, 9, access.Attempt{})
	g := f.Again(t, rotated)
	if left, err := g.Rewrapper().Left(t.Context()); err != nil || left != 7 { // 5 cards, a former one, a range
		t.Fatalf("%d rows left, %v", left, err)
	}
	if done := rewrap(t, g); done != 7 {
		t.Fatalf("%d rows done", done)
	}
	for _, ref := range Second() {
		old := keyref.Ref{Usage: ref.Usage, Version: 1}
		if n, err := g.InUse(t.Context(), old); err != nil || n != 0 {
			t.Fatalf("%d rows under %v, %v", n, old, err)
		}
		if n, err := g.InUse(t.Context(), ref); err != nil || n == 0 {
			t.Fatalf("%d rows under %v, %v", n, ref, err)
		}
	}
	h := g.Again(t) // as a process that starts now
	for n, ref := range refs[1:] {
		behind(t, h, ref, n+1, "2912")
	}
	behind(t, h, refs[0], 9, "3112")
	_, err := h.Writer().Issue(t.Context(), h.Order(t, 0), "bank", access.Attempt{})
	kind(t, err, fault.CardReplaced)
	if a, b := issue(t, h, 1), issue(t, h, 1); a.PAR != b.PAR || count(t, h, "cards") != 5 {
		t.Fatal("a card was not found by its new index")
	}
	if done := rewrap(t, f); done != 0 { // an older configuration turns nothing back
		t.Fatalf("%d rows turned back", done)
	}
}

// rewrapWhileServing: processes of both configurations issue, replace and open
// while the job runs, and every card stays one card.
func rewrapWhileServing(t *testing.T, f *Fixture) {
	const cards = 60
	refs := make([]token.Ref, cards)
	for n := range cards {
		refs[n] = issue(t, f, n).Ref
	}
	g := f.Again(t, rotated)
	both := []*Fixture{f, g}
	racing(3, func(i int) {
		if i == 0 { // the older configuration may write a row behind it: nothing is claimed of what is left
			if err := g.Rewrapper().Run(t.Context(), func(int64) {}); err != nil {
				t.Error(err)
			}
			return
		}
		for n := range cards {
			if o := both[i-1].Order(t, n); n%2 == 0 {
				o.CardExpiry = "3001"
				if _, err := both[i-1].Writer().Issue(t.Context(), o, "bank", access.Attempt{}); err != nil {
					t.Error(err)
				}
			} else if _, _, err := both[i-1].Opener().PAN(t.Context(), refs[n]); err != nil {
				t.Error(err)
			}
		}
	})
	rewrap(t, g) // what the older configuration wrote meanwhile
	if n := count(t, f, "cards"); n != cards {
		t.Fatalf("%d cards", n)
	}
	for n, ref := range refs {
		behind(t, g, ref, n, []token.Expiry{"3001", "2912"}[n%2])
	}
}

func rewrapKilled(t *testing.T, f *Fixture) {
	const cards = 250
	for n := range cards {
		issue(t, f, n)
	}
	g := f.Again(t, rotated)
	ctx, cancel := context.WithCancel(t.Context())
	err := g.Rewrapper().Run(ctx, func(done int64) {
		if done > 100 {
			cancel()
		}
	})
	left, lerr := g.Rewrapper().Left(t.Context())
	if err == nil || lerr != nil || left == 0 || left >= cards {
		t.Fatalf("%d rows left, %v, %v", left, err, lerr)
	}
	if done := rewrap(t, g.Again(t)); done != left {
		t.Fatalf("%d of %d rows", done, left)
	}
}

// twoIndexes: a process that was not told of a newer version of the index key
// finds the cards that others wrote under it.
func twoIndexes(t *testing.T, f *Fixture) {
	g := f.Again(t, rotated)
	a := issue(t, g, 1)
	if b := issue(t, f, 1); b.PAR != a.PAR {
		t.Fatal("one card has two references")
	}
	b := issue(t, f, 2)
	if c := issue(t, g, 2); c.PAR != b.PAR {
		t.Fatal("one card has two references")
	}
	h := f.Again(t)
	for n, tok := range map[int]token.Token{1: a, 2: b} {
		if c, err := h.Reader().Card(t.Context(), Card(t, n)); err != nil || c.PAR != tok.PAR {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if n := count(t, f, "cards"); n != 2 {
		t.Fatalf("%d cards", n)
	}
}

func retiredKeys(t *testing.T, f *Fixture) {
	issue(t, f, 1)
	g := f.Again(t, rotated)
	for _, ref := range append(Second(), vault.Keys{}.Refs()...) {
		want := error(vault.ErrKeyInUse)
		if ref.Usage == keyref.PARKey {
			continue // configured, which the next line is about
		}
		if err := g.Retire(t.Context(), ref); fault.KindOf(err) != fault.KindOf(want) {
			t.Fatalf("retiring %v: %v", ref, err)
		}
	}
	kind(t, g.Retire(t.Context(), keyref.Ref{Usage: keyref.PARKey, Version: 1}), fault.HSMKey)
	rewrap(t, g)
	for _, ref := range Second() {
		if err := g.Retire(t.Context(), keyref.Ref{Usage: ref.Usage, Version: 1}); err != nil {
			t.Fatal(err)
		}
	}
	// A process with the old configuration still serves what needs no writing
	// of cards, and writes no card under what is gone.
	issue(t, f, 1)
	_, err := f.Writer().Issue(t.Context(), f.Order(t, 2), "bank", access.Attempt{})
	kind(t, err, fault.HSMKey)
	issue(t, g, 2)
}

// without is an HSM from which a key was taken.
type without struct {
	vault.Sealer
	gone *keyref.Ref
}

func (w without) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) (mac [32]byte, err error) {
	if ref == *w.gone {
		return mac, fault.New(fault.HSMKey, "the HSM holds no such key")
	}
	return w.Sealer.HMAC(ctx, ref, msg)
}

// destroyedKey: a process that knew an old version goes on when that is retired
// and destroyed under it.
func destroyedKey(t *testing.T, f *Fixture) {
	first := issue(t, f, 1)
	gone := keyref.Ref{}
	g := f.Again(t, rotated, func(c *vault.Config) { c.HSM = without{c.HSM, &gone} })
	issue(t, g, 1)
	rewrap(t, f.Again(t, rotated))
	gone = keyref.Ref{Usage: keyref.PANIndex, Version: 1}
	if tok := issue(t, g, 1); tok.PAR != first.PAR {
		t.Fatal("another card")
	}
	issue(t, g, 2)
	// One that is configured for the old version cannot do without it.
	h := f.Again(t, func(c *vault.Config) { c.HSM = without{c.HSM, &gone} })
	_, err := h.Reader().Card(t.Context(), Card(t, 1))
	kind(t, err, fault.HSMKey)
}
