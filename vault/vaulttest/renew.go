package vaulttest

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// renewal is the order of a token that follows another one.
func renewal(t testing.TB, f *Fixture, old token.Token) token.Order {
	o := f.Order(t, 0)
	o.PAN, o.CardExpiry = token.PAN{}, ""
	o.Renews, o.Revision, o.NotBefore, o.NotAfter = old.Ref, old.Revision, old.NotAfter, old.NotAfter.Add(24*time.Hour)
	return o
}

func renewals(t *testing.T, f *Fixture) {
	old := issue(t, f, 1)
	next, err := f.Writer().Renew(t.Context(), renewal(t, f, old), "bank", access.Attempt{Key: "k"})
	if err != nil || next.PAR != old.PAR || next.PANLast4 != old.PANLast4 || next.Renews != old.Ref || len(next.Number.Digits()) != 16 ||
		next.Number.Digits() == old.Number.Digits() {
		t.Fatalf("%+v, %v", next, err)
	}
	if got, err := f.Reader().Token(t.Context(), old.Ref); err != nil || got.RenewedBy != next.Ref || got.State != token.Requested {
		t.Fatalf("%+v, %v", got, err)
	}
	if pan, _, err := f.Opener().PAN(t.Context(), next.Ref); err != nil || pan.Reveal() != Card(t, 1).Reveal() {
		t.Fatalf("%v, %v", pan, err)
	}
	if got, ok, err := f.Writer().Renewed(t.Context(), "bank", access.Attempt{Key: "k"}); !ok || err != nil || got.Ref != next.Ref {
		t.Fatalf("%v, %v, %v", got.Ref, ok, err)
	}
	if again, err := f.Writer().Renew(t.Context(), renewal(t, f, old), "bank", access.Attempt{Key: "k"}); err != nil || again.Ref != next.Ref {
		t.Fatalf("the same attempt: %v, %v", again.Ref, err)
	}
	_, err = f.Writer().Renew(t.Context(), renewal(t, f, old), "bank", access.Attempt{})
	kind(t, err, fault.TokenState)
	if n := count(t, f, "tokens"); n != 2 {
		t.Fatalf("%d tokens", n)
	}
	if e, err := f.Writer().CardExpiry(t.Context(), next.Ref); err != nil || e != "2912" {
		t.Fatalf("%v, %v", e, err)
	}
	_, err = f.Writer().CardExpiry(t.Context(), "trNONE")
	kind(t, err, fault.TokenUnknown)
	_, err = f.Writer().Renew(t.Context(), renewal(t, f, token.Token{Ref: "trNONE", NotAfter: old.NotAfter}), "bank", access.Attempt{})
	kind(t, err, fault.TokenUnknown)
}

// following: a change and those of the tokens that follow happen together, or
// not at all.
func following(t *testing.T, f *Fixture) {
	old := issue(t, f, 1)
	next, err := f.Writer().Renew(t.Context(), renewal(t, f, old), "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	suspend := func(tok token.Token, revision int64, then ...token.Change) token.Change {
		return token.Change{Ref: tok.Ref, From: token.Requested, Revision: revision, Verb: token.Suspend, By: token.ByRisk,
			At: f.Clock.Now(), Then: then}
	}
	want := func(state token.State) {
		t.Helper()
		for _, tok := range []token.Token{old, next} {
			if got, err := f.Reader().Token(t.Context(), tok.Ref); err != nil || got.State != state {
				t.Fatalf("%s, %v; want %s", got.State, err, state)
			}
		}
	}
	a := access.Attempt{Key: "k"}
	_, err = f.Writer().Change(t.Context(), suspend(old, old.Revision+1, suspend(next, next.Revision+1)), "bank", a)
	kind(t, err, fault.TokenState)
	_, err = f.Writer().Change(t.Context(), suspend(old, old.Revision+1, suspend(token.Token{Ref: "trNONE"}, 1)), "bank", a)
	kind(t, err, fault.TokenUnknown)
	want(token.Requested)
	for range 2 {
		got, err := f.Writer().Change(t.Context(), suspend(old, old.Revision+1, suspend(next, next.Revision)), "bank", a)
		if err != nil || got.Ref != old.Ref || got.State != token.Suspended {
			t.Fatalf("%+v, %v", got, err)
		}
		want(token.Suspended)
	}
}

func renewalsRace(t *testing.T, f *Fixture) {
	g := f.Again(t)
	old := issue(t, f, 1)
	var won atomic.Int64
	racing(12, func(i int) {
		_, err := []*Fixture{f, g}[i%2].Writer().Renew(t.Context(), renewal(t, f, old), "bank", access.Attempt{})
		if err == nil {
			won.Add(1)
		} else if !errors.Is(err, vault.ErrConflict) {
			t.Error(err)
		}
	})
	if n := count(t, f, "tokens"); won.Load() != 1 || n != 2 {
		t.Fatalf("%d renewals, %d tokens", won.Load(), n)
	}
}
