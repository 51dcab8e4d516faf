package vaulttest

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// only is an order for the only token of a card on a device.
func only(t testing.TB, f *Fixture, n int, device, what string) token.Order {
	o := f.Order(t, n)
	o.Device, o.Only = device, what
	return o
}

func oneLiving(t *testing.T, f *Fixture) {
	must := func(o token.Order, a access.Attempt) token.Token {
		t.Helper()
		tok, err := f.Writer().Issue(t.Context(), o, "bank", a)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	first := must(only(t, f, 1, "d1", "day"), access.Attempt{})
	renewedCard := only(t, f, 1, "d1", "day")
	renewedCard.CardExpiry = "3012"
	if got := must(renewedCard, access.Attempt{}); got.Ref != first.Ref {
		t.Error("the card's expiry date made another token")
	}
	behind(t, f, first.Ref, 1, "3012")
	if got := must(only(t, f, 1, "d1", "day"), access.Attempt{Key: "k"}); got.Ref != first.Ref {
		t.Error("another token")
	}
	other := only(t, f, 1, "d1", "day")
	other.Requestor = "99999999999"
	for name, o := range map[string]token.Order{"another device": only(t, f, 1, "d2", "day"), "another day": only(t, f, 1, "d1", "tomorrow"),
		"another card": only(t, f, 2, "d1", "day"), "another requestor": other, "a twin": only(t, f, 1, "d1", "")} {
		if got := must(o, access.Attempt{}); got.Ref == first.Ref {
			t.Errorf("%s: the same token", name)
		}
	}
	if _, err := change(t, f, token.Change{Ref: first.Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	second := must(only(t, f, 1, "d1", "day"), access.Attempt{})
	if second.Ref == first.Ref {
		t.Fatal("a deleted token was given out")
	}
	if got := must(only(t, f, 1, "d1", "day"), access.Attempt{Key: "k"}); got.Ref != first.Ref {
		t.Error("an attempt forgot its answer")
	}
	f.Clock.Set(second.NotAfter)
	if third := must(only(t, f, 1, "d1", "day"), access.Attempt{}); third.Ref == second.Ref {
		t.Fatal("a token whose window has closed was given out")
	}
}

func oneLivingRace(t *testing.T, f *Fixture) {
	g := f.Again(t)
	for round := range 3 {
		refs := make([]token.Ref, 12)
		racing(len(refs), func(i int) {
			tok, err := []*Fixture{f, g}[i%2].Writer().Issue(t.Context(), only(t, f, 1, "d", "day"), "bank", access.Attempt{Key: fmt.Sprint(round, i)})
			if err != nil {
				t.Error(err)
			}
			refs[i] = tok.Ref
		})
		for _, r := range refs {
			if r != refs[0] {
				t.Fatalf("two living tokens: %s, %s", r, refs[0])
			}
		}
		if n := count(t, f, "tokens"); n != int64(round+1) {
			t.Fatalf("%d tokens after %d rounds", n, round+1)
		}
		f.Clock.Add(25 * time.Hour) // the dead one has to make way, in a race again
	}
}
