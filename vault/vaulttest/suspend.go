package vaulttest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

func suspenders(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	for _, by := range []token.Suspender{token.ByRisk, token.ByRequestor, token.ByRequestor, token.ByHolder} {
		if _, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Suspend, By: by}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Reader().Token(t.Context(), tok.Ref)
	if err != nil || !reflect.DeepEqual(got.Suspenders, []token.Suspender{token.ByRequestor, token.ByHolder, token.ByRisk}) {
		t.Fatalf("%v, %v", got.Suspenders, err)
	}
	since := got.ChangedAt
	f.Clock.Add(time.Minute)
	for i, by := range []token.Suspender{token.ByHolder, token.ByRequestor, token.ByRisk} {
		_, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Resume, By: token.ByIssuer})
		kind(t, err, fault.TokenState) // who holds nothing lets go of nothing
		got, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Resume, By: by})
		want := token.Suspended
		if i == 2 {
			want, since = token.Active, f.Clock.Now()
		}
		if err != nil || got.State != want || len(got.Suspenders) != 2-i || !got.ChangedAt.Equal(since) {
			t.Fatalf("%s let go: %+v, %v", by, got, err)
		}
	}
}

// suspendersRace: everyone who suspends at once is remembered.
func suspendersRace(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	racing(len(token.Suspenders), func(i int) {
		for {
			_, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Suspend, By: token.Suspenders[i]})
			if err == nil {
				return
			}
			if !errors.Is(err, vault.ErrConflict) {
				t.Error(err)
				return
			}
		}
	})
	got, err := f.Reader().Token(t.Context(), tok.Ref)
	if err != nil || !reflect.DeepEqual(got.Suspenders, token.Suspenders) {
		t.Fatalf("%v, %v", got.Suspenders, err)
	}
}
