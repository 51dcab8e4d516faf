package vaulttest

import (
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// Small is the smallest range there can be.
var Small = vault.Range{Name: "small", Prefix: "910002000", Length: 16, Luhn: true}

// SkipTo makes serial the next of a range that is leased for the first time,
// so that a test sees the end of a range without filling it.
func (f *Fixture) SkipTo(t testing.TB, rangeName string, serial int64) {
	t.Helper()
	storetest.Exec(t, f.DB, "UPDATE token_ranges SET next_serial = ? WHERE id = ?", serial, rangeName)
}

func small(c *vault.Config) { c.Ranges = []vault.Range{Small} }

func lastNumber(t *testing.T, f *Fixture) {
	const left = 11
	f = f.Again(t, small)
	f.SkipTo(t, Small.Name, 1_000_000-left)
	tokens := make([]token.Token, left)
	racing(left, func(i int) { tokens[i] = issue(t, f, i) })
	numbers := make([]string, left)
	for i, tok := range tokens {
		numbers[i] = tok.Number.Digits()
	}
	distinct(t, numbers)
	refused := f.Order(t, left)
	_, err := f.Writer().Issue(t.Context(), refused, "bank", access.Attempt{Key: "k"})
	kind(t, err, fault.RangeExhausted)
	if n := count(t, f, "tokens"); n != left {
		t.Fatalf("%d tokens", n)
	}
	if n := count(t, f, "cards"); n != left {
		t.Fatalf("a refused request left a card behind: %d", n)
	}

	// Quarantine: 45 days after the window closed, and not a moment sooner.
	spent, err := f.Writer().TakeCounters(t.Context(), tokens[0].Ref, 100)
	if err != nil || spent != 1 {
		t.Fatal(spent, err)
	}
	back := tokens[0].NotAfter.Add(45 * 24 * time.Hour)
	f.Clock.Set(back.Add(-time.Millisecond))
	_, err = f.Writer().Issue(t.Context(), f.Order(t, left), "bank", access.Attempt{})
	kind(t, err, fault.RangeExhausted)
	f.Clock.Set(back)
	seen := map[string]token.Token{}
	for i := range left {
		tok := issue(t, f, i)
		seen[tok.Number.Digits()] = tok
	}
	if len(seen) != left {
		t.Fatalf("%d numbers came back", len(seen))
	}
	_, err = f.Writer().Issue(t.Context(), f.Order(t, left), "bank", access.Attempt{})
	kind(t, err, fault.RangeExhausted)
	heir, ok := seen[tokens[0].Number.Digits()]
	if !ok || heir.CtrFirst != 101 || heir.CtrNext != 101 {
		t.Fatalf("counters of a number that came back: %d to %d", heir.CtrFirst, heir.CtrNext)
	}
	_, err = f.Writer().TakeCounters(t.Context(), tokens[0].Ref, 1)
	kind(t, err, fault.TokenUnknown)
	holder(t, f, heir.Number, tokens[0].NotAfter.Add(-time.Second), tokens[0].Ref)
	holder(t, f, heir.Number, tokens[0].NotAfter.Add(10*time.Minute), tokens[0].Ref)
	holder(t, f, heir.Number, heir.NotBefore.Add(-2*time.Minute), heir.Ref)
	holder(t, f, heir.Number, heir.NotBefore, heir.Ref)
}

// holder holds the bearer of a number at a time to ref.
func holder(t testing.TB, f *Fixture, n token.Number, at time.Time, ref token.Ref) {
	t.Helper()
	tok, err := f.Reader().ByNumber(t.Context(), n, at)
	if err != nil || tok.Ref != ref {
		t.Fatalf("at %v: %v, %v", at, tok.Ref, err)
	}
}

func handedBack(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	f.SkipTo(t, Small.Name, 1_000_000-10)
	for i := range 3 {
		issue(t, f, i) // of a block of 8
	}
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := f.Again(t)
	var numbers []string
	for i := range 7 {
		numbers = append(numbers, issue(t, g, i).Number.Digits())
	}
	distinct(t, numbers)
	_, err := g.Writer().Issue(t.Context(), g.Order(t, 9), "bank", access.Attempt{})
	kind(t, err, fault.RangeExhausted)
	if n := count(t, g, "numbers"); n != 10 {
		t.Fatalf("%d of 10 serials were used", n)
	}
}

func takenOver(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	f.SkipTo(t, Small.Name, 1_000_000-8)
	issue(t, f, 0) // leases all that is left
	g := f.Again(t)
	_, err := g.Writer().Issue(t.Context(), g.Order(t, 1), "bank", access.Attempt{})
	kind(t, err, fault.RangeExhausted) // another process's business
	f.Clock.Add(time.Hour)
	issue(t, g, 1)
	// The first process was not gone after all: it is fenced off, and looks for
	// serials elsewhere.
	_, err = f.Writer().Issue(t.Context(), f.Order(t, 2), "bank", access.Attempt{})
	kind(t, err, fault.RangeExhausted)
	for i := range 6 {
		issue(t, g, i)
	}
	if n := count(t, g, "numbers"); n != 8 {
		t.Fatalf("%d of 8 serials were used", n)
	}
}

func twoProcesses(t *testing.T, f *Fixture) {
	g := f.Again(t)
	const n = 60
	numbers := make([]string, n)
	racing(n, func(i int) { numbers[i] = issue(t, []*Fixture{f, g}[i%2], i).Number.Digits() })
	distinct(t, numbers)
}
