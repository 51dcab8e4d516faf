package vaulttest

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
)

// denied: a token is denied as long as somebody holds it back, it is deleted or its window
// has ended, keys were made under it, and its longest window has not ended.
func denied(t *testing.T, f *Fixture) {
	tok, idle := issue(t, f, 1), issue(t, f, 2)
	if _, err := f.Writer().TakeCounters(t.Context(), tok.Ref, 3); err != nil {
		t.Fatal(err)
	}
	want := func(after time.Time, until ...time.Time) {
		t.Helper()
		got, err := f.Reader().Denied(t.Context(), after)
		if err != nil || len(got) != len(until) {
			t.Fatalf("%d tokens are denied, want %d (%v)", len(got), len(until), err)
		}
		for i, d := range got {
			if d.Ref != tok.Ref || !d.Until.Equal(until[i]) {
				t.Errorf("%s until %v", d.Ref, d.Until)
			}
		}
	}
	do := func(c token.Change) {
		t.Helper()
		if _, err := change(t, f, c); err != nil {
			t.Fatal(err)
		}
	}
	now := f.Clock.Now()
	want(now)
	for _, ref := range []token.Ref{tok.Ref, idle.Ref} {
		do(token.Change{Ref: ref, Verb: token.Suspend, By: token.ByRisk})
	}
	want(now, tok.NotAfter) // no keys were made under the other
	want(tok.NotAfter)
	do(token.Change{Ref: tok.Ref, Verb: token.Resume, By: token.ByRisk})
	want(now)
	short := now.Add(2 * time.Hour)
	for _, end := range []time.Time{now.Add(3 * time.Hour), short} { // shorter twice: the longest one counts
		do(token.Change{Ref: tok.Ref, Verb: token.Update, Set: token.Attributes{NotAfter: &end}, Expiry: tok.Expiry})
	}
	want(now)
	want(short, tok.NotAfter) // nobody holds it back, and its window has ended
	do(token.Change{Ref: tok.Ref, Verb: token.Suspend, By: token.ByHolder})
	want(now, tok.NotAfter)
	want(short, tok.NotAfter) // the phone still has keys for the longer window
	f.Clock.Set(short.Add(time.Minute))
	if _, err := f.Writer().ExpireDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(short.Add(time.Minute), tok.NotAfter)
	do(token.Change{Ref: tok.Ref, Verb: token.Delete})
	want(short.Add(time.Minute), tok.NotAfter)
	want(tok.NotAfter)
	numbers, err := f.Reader().Numbers(t.Context(), []token.Ref{tok.Ref, idle.Ref, "trNONE"})
	if err != nil || len(numbers) != 2 || numbers[tok.Ref].Digits() != tok.Number.Digits() || numbers[idle.Ref].Digits() != idle.Number.Digits() {
		t.Errorf("%d numbers, %v", len(numbers), err)
	}
}
