package vaulttest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

func issueAndRead(t *testing.T, f *Fixture) {
	o := f.Order(t, 1)
	o.NotBefore = o.NotBefore.Add(time.Second)
	made, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	want := token.Token{Ref: o.Ref, Number: made.Number, Requestor: o.Requestor, PAR: made.PAR, PANLast4: o.PAN.Last4(),
		Expiry: o.Expiry, Location: o.Location, State: token.Requested, NotBefore: o.NotBefore, NotAfter: o.NotAfter,
		CreatedAt: Start, ChangedAt: Start, CtrFirst: 1, CtrNext: 1, Decision: token.DecisionApproved, Revision: 1}
	if !reflect.DeepEqual(made, want) {
		t.Fatalf("issued %+v\nwant %+v", made, want)
	}
	d := made.Number.Digits()
	if len(d) != 16 || !strings.HasPrefix(d, Transit.Prefix) || token.LuhnDigit(d[:15]) != d[15] {
		t.Fatalf("the number is not one of its range")
	}
	if len(made.PAR) != 29 || !strings.HasPrefix(string(made.PAR), "TV01") || strings.ToUpper(string(made.PAR)) != string(made.PAR) {
		t.Fatalf("payment account reference %q", made.PAR)
	}
	again := f.Again(t) // another process, so nothing comes from memory
	same := func(got token.Token, err error) {
		t.Helper()
		if err != nil || got.Number.Digits() != d {
			t.Fatalf("read %+v, %v", got, err)
		}
		got.Number = made.Number
		if !reflect.DeepEqual(got, made) {
			t.Fatalf("read %+v\nwant %+v", got, made)
		}
	}
	same(again.Reader().Token(t.Context(), o.Ref))
	same(again.Reader().ByNumber(t.Context(), made.Number, Start))
	pan, expiry, err := again.Opener().PAN(t.Context(), o.Ref)
	if err != nil || pan.Reveal() != o.PAN.Reveal() || expiry != o.CardExpiry {
		t.Fatalf("opened %v, %v, %v", pan, expiry, err)
	}
}

func oneCard(t *testing.T, f *Fixture) {
	a, b, other := issue(t, f, 1), issue(t, f, 1), issue(t, f, 2)
	if a.PAR != b.PAR || a.PAR == other.PAR {
		t.Fatalf("references %s, %s; another card %s", a.PAR, b.PAR, other.PAR)
	}
	if a.Number.Digits() == b.Number.Digits() || a.Ref == b.Ref {
		t.Fatal("two tokens are one")
	}
}

func renewedCard(t *testing.T, f *Fixture) {
	first := issue(t, f, 1)
	o := f.Order(t, 1)
	o.CardExpiry = "3012"
	second, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
	if err != nil || second.PAR != first.PAR {
		t.Fatalf("%+v, %v", second, err)
	}
	for _, ref := range []token.Ref{first.Ref, second.Ref} {
		if pan, expiry, err := f.Opener().PAN(t.Context(), ref); err != nil || expiry != "3012" || pan.IsZero() {
			t.Fatalf("%v, %v", expiry, err)
		}
	}
}

func oncePerAttempt(t *testing.T, f *Fixture) {
	a := access.Attempt{Key: "k1", Digest: [32]byte{1}}
	w := f.Writer()
	if _, ok, err := w.Asked(t.Context(), "bank", a); ok || err != nil {
		t.Fatalf("asked before it was: %v", err)
	}
	first, err := w.Issue(t.Context(), f.Order(t, 1), "bank", a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.Issue(t.Context(), f.Order(t, 1), "bank", a)
	if err != nil || second.Ref != first.Ref || second.Number.Digits() != first.Number.Digits() {
		t.Fatalf("%v, %v; first %v", second.Ref, err, first.Ref)
	}
	if asked, ok, err := w.Asked(t.Context(), "bank", a); !ok || err != nil || asked.Ref != first.Ref {
		t.Fatalf("%v, %v, %v", asked.Ref, ok, err)
	}
	other, err := w.Issue(t.Context(), f.Order(t, 1), "another", a)
	if err != nil || other.Ref == first.Ref {
		t.Fatalf("another caller's key: %v, %v", other.Ref, err)
	}
	_, err = w.Issue(t.Context(), f.Order(t, 1), "bank", access.Attempt{Key: "k1", Digest: [32]byte{2}})
	kind(t, err, fault.KeyReused)
	_, _, err = w.Asked(t.Context(), "bank", access.Attempt{Key: "k1", Digest: [32]byte{2}})
	kind(t, err, fault.KeyReused)
}

// mixedCrowd has many ask at once, in a way that some of whom stand in the way
// of the others: each attempt twice, each card and each living token by several.
func mixedCrowd(t *testing.T, f *Fixture) {
	const asks, attempts, cards = 96, 48, 12
	f = f.Again(t, func(c *vault.Config) { c.Events = new(told) })
	f.Clock.Add(time.Minute)
	got, errs := make([]token.Token, asks), make([]error, asks)
	racing(asks, func(i int) {
		n := i % attempts
		o := f.Order(t, n%cards)
		if n%3 == 0 {
			o.Only = "phone"
		}
		a := access.Attempt{Key: fmt.Sprint("crowd-", n), Digest: [32]byte{byte(n)}}
		got[i], errs[i] = f.Writer().Issue(t.Context(), o, "bank", a)
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	refs, numbers, only := map[token.Ref]bool{}, map[string]token.Ref{}, map[int]token.Ref{}
	for i, tok := range got {
		if n := i % attempts; tok.Ref != got[n].Ref {
			t.Fatalf("attempt %d made %s and %s", n, got[n].Ref, tok.Ref)
		} else if first, is := only[n%cards]; n%3 == 0 && is && first != tok.Ref {
			t.Fatalf("two living tokens of card %d", n%cards)
		} else if n%3 == 0 {
			only[n%cards] = tok.Ref
		}
		if other, is := numbers[tok.Number.Digits()]; is && other != tok.Ref {
			t.Fatal("two tokens have one number")
		}
		refs[tok.Ref], numbers[tok.Number.Digits()] = true, tok.Ref
	}
	// A third of the attempts ask for the only token of their card. 3 and 12 have
	// 3 in common, so those are of 4 cards.
	if want := attempts*2/3 + 4; len(refs) != want {
		t.Fatalf("%d tokens, not %d", len(refs), want)
	}
	if n := count(t, f, "cards"); n != cards {
		t.Fatalf("%d cards, not %d", n, cards)
	}
	for table, want := range map[string]int{"tokens": len(refs), "numbers": len(refs), "attempts": attempts} {
		if n := count(t, f, table); int(n) != want {
			t.Errorf("%d rows of %s, not %d", n, table, want)
		}
	}
}

func attemptsRace(t *testing.T, f *Fixture) {
	refs := make([]token.Ref, 16)
	racing(len(refs), func(i int) {
		tok, err := f.Writer().Issue(t.Context(), f.Order(t, 1), "bank", access.Attempt{Key: "k"})
		if err != nil {
			t.Error(err)
		}
		refs[i] = tok.Ref
	})
	for _, r := range refs {
		if r != refs[0] {
			t.Fatalf("one attempt made %s and %s", refs[0], r)
		}
	}
	if n := count(t, f, "tokens"); n != 1 {
		t.Fatalf("%d tokens", n)
	}
}

func numbersRace(t *testing.T, f *Fixture) {
	const n = 40
	seen := make([]string, n)
	racing(n, func(i int) { seen[i] = issue(t, f, i).Number.Digits() })
	distinct(t, seen)
}

func cardRace(t *testing.T, f *Fixture) {
	const n = 16
	pars, numbers := make([]token.PAR, n), make([]string, n)
	racing(n, func(i int) {
		o := f.Order(t, 1)
		o.CardExpiry = token.Expiry([]string{"2911", "2912"}[i%2])
		tok, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err != nil {
			t.Error(err)
		}
		pars[i], numbers[i] = tok.PAR, tok.Number.Digits()
	})
	distinct(t, numbers)
	for _, p := range pars {
		if p != pars[0] {
			t.Fatal("one card has two payment account references")
		}
	}
	if n := count(t, f, "cards"); n != 1 {
		t.Fatalf("%d cards", n)
	}
}

func distinct(t testing.TB, s []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, x := range s {
		if seen[x] || x == "" {
			t.Fatal("a number was given out twice, or not at all")
		}
		seen[x] = true
	}
}

func cardIsToken(t *testing.T, f *Fixture) {
	o := f.Order(t, 1)
	for _, digits := range []string{"910001123456789", "999910001123456789"} { // the second's last 16 digits are a token's
		pan, err := token.ParsePAN(digits + string(token.LuhnDigit(digits)))
		if err != nil {
			t.Fatal(err)
		}
		o.PAN = pan
		_, err = f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		kind(t, err, fault.CardIsToken)
	}
	nothing(t, f)
}

func noRange(t *testing.T, f *Fixture) {
	o := f.Order(t, 1)
	var err error
	if o.PAN, err = token.ParsePAN("62284800000" + string(token.LuhnDigit("62284800000"))); err != nil {
		t.Fatal(err)
	}
	_, err = f.Writer().Issue(t.Context(), o, "bank", access.Attempt{Key: "k"})
	kind(t, err, fault.NoRange)
	nothing(t, f)
}
