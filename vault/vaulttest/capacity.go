package vaulttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// rangeTests are the part of the contract that is about how ranges are used.
var rangeTests = map[string]func(*testing.T, *Fixture){
	"ranges kept for some":     keptForSome,
	"capacity":                 capacity,
	"numbers without counters": spentNumbers,
	"no number twice":          neverTwice,
	"a damaged range":          damagedRange,
	"another process's range":  anothersRange,
	"a closed range":           closedRange,
	"serials that were lost":   lostSerials,
	"a clock ahead":            clockAhead,
}

// Fill gives out the serials below n of a range, as if each had been issued
// once and came back at a time: they are in no token, which nothing asks for.
func (f *Fixture) Fill(t testing.TB, rangeName string, n int64, back func(serial string) string) {
	t.Helper()
	storetest.Exec(t, f.DB, `INSERT INTO numbers (range_id, serial, holder, next_ctr, free_after)
		WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < ?)
		SELECT '`+rangeName+`', n, 'filled', 1, `+back("n")+` FROM s`, n)
	f.SkipTo(t, rangeName, n)
}

func keptForSome(t *testing.T, f *Fixture) {
	g := f.Again(t, func(c *vault.Config) {
		c.CardRanges = []vault.CardRange{{Prefix: "622848", Length: 16}, {Prefix: "6228480000", Length: 16, Scheme: "metro"}}
		c.Ranges = []vault.Range{
			{Name: "one", Prefix: "910003", Length: 16, Luhn: true, Requestor: "12345678901"},
			{Name: "metro", Prefix: "910004", Length: 16, Luhn: true, Scheme: "metro"},
			Transit,
		}
	})
	digits := func(requestor token.Requestor, digits string) string {
		o := g.Order(t, 1)
		o.Requestor, o.PAN = requestor, pan(t, digits)
		tok, err := g.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		return tok.Number.Digits()[:6]
	}
	for _, x := range []struct {
		requestor    token.Requestor
		digits, want string
	}{
		{"12345678901", "622848000000001", "910003"}, // kept for this requestor, which comes first
		{"99999999999", "622848000000001", "910004"}, // a card of the scheme
		{"99999999999", "622848999999999", "910001"}, // neither
	} {
		if got := digits(x.requestor, x.digits); got != x.want {
			t.Errorf("requestor %s got a number of %s, not of %s", x.requestor, got, x.want)
		}
	}
	only := f.Again(t, func(c *vault.Config) {
		c.Ranges = []vault.Range{{Name: "one", Prefix: "910003", Length: 16, Luhn: true, Requestor: "99999999999"}}
	})
	_, err := only.Writer().Issue(t.Context(), only.Order(t, 1), "bank", access.Attempt{})
	kind(t, err, fault.NoRange)
}

// capacityOf is the capacity of a range by its name.
func capacityOf(t testing.TB, f *Fixture, name string) vault.Capacity {
	t.Helper()
	all, err := f.Capacity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no capacity of %s", name)
	return vault.Capacity{}
}

func capacity(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	if c := capacityOf(t, f, Small.Name); c.Size != 1_000_000 || c.Fresh != c.Size || c.PerDay != 0 || c.DaysLeft != vault.Plenty || !c.Issuing {
		t.Fatalf("of an untouched range: %+v", c)
	}
	if c := capacityOf(t, f, Transit.Name); c.Issuing {
		t.Fatal("a range that is not configured issues")
	}
	for n := range 8 {
		issue(t, f, n)
	}
	c := capacityOf(t, f, Small.Name)
	if c.Fresh != c.Size-8 || c.Resting != 8 || c.Ready != 0 || c.PerDay != 8 || c.DaysLeft != vault.Plenty {
		t.Fatalf("after 8 tokens: %+v", c)
	}
	f.Clock.Add(46*24*time.Hour + time.Minute)
	if c := capacityOf(t, f, Small.Name); c.Ready != 8 || c.Resting != 0 || c.PerDay != 0 {
		t.Fatalf("46 days later: %+v", c)
	}
}

func spentNumbers(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	f.SkipTo(t, Small.Name, 1_000_000-2)
	a, b := issue(t, f, 1), issue(t, f, 2)
	if _, err := f.Writer().TakeCounters(t.Context(), a.Ref, 60_001); err != nil {
		t.Fatal(err)
	}
	f.Clock.Add(50 * 24 * time.Hour)
	if tok := issue(t, f, 3); tok.Number.Digits() != b.Number.Digits() {
		t.Fatal("a number without counters came back")
	}
	_, err := f.Writer().Issue(t.Context(), f.Order(t, 4), "bank", access.Attempt{})
	kind(t, err, fault.RangeExhausted)
	if c := capacityOf(t, f, Small.Name); c.Spent != 1 || c.Resting != 1 || c.Ready != 0 {
		t.Fatalf("%+v", c)
	}
}

// neverTwice plays three months of a range of few numbers with two processes,
// and holds every number to one token at a time, with the quarantine between
// tokens and counters that never come again.
func neverTwice(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	const numbers = 24
	f.SkipTo(t, Small.Name, 1_000_000-numbers)
	processes := []*Fixture{f, f.Again(t)}
	type use struct {
		until time.Time
		ctr   uint16
	}
	last := map[string]use{}
	issued, refused := 0, 0
	random := rand.New(rand.NewPCG(1, 2))
	for range 120 {
		p := processes[random.IntN(2)]
		tok, err := p.Writer().Issue(t.Context(), p.Order(t, random.IntN(5)), "bank", access.Attempt{})
		switch {
		case fault.KindOf(err) == fault.RangeExhausted && err != nil:
			refused++
		case err != nil:
			t.Fatal(err)
		default:
			issued++
			before, again := last[tok.Number.Digits()]
			if again && tok.NotBefore.Before(before.until.Add(45*24*time.Hour)) {
				t.Fatal("a number came back before its quarantine was over")
			}
			if tok.CtrFirst < before.ctr {
				t.Fatalf("counter %d came again", tok.CtrFirst)
			}
			first, err := p.Writer().TakeCounters(t.Context(), tok.Ref, 1+random.IntN(20))
			if err != nil || first < before.ctr {
				t.Fatalf("counter %d after %d, %v", first, before.ctr, err)
			}
			now, err := p.Reader().Token(t.Context(), tok.Ref)
			if err != nil {
				t.Fatal(err)
			}
			last[tok.Number.Digits()] = use{tok.NotAfter, now.CtrNext}
		}
		f.Clock.Add(time.Duration(random.IntN(40)) * time.Hour)
	}
	if len(last) != numbers || issued <= numbers || refused == 0 {
		t.Fatalf("%d numbers, %d tokens, %d refusals: the test did not see what it is for", len(last), issued, refused)
	}
}

// anothersRange: a process that was started before another range was configured
// knows the tokens that others issue from it.
func anothersRange(t *testing.T, f *Fixture) {
	later := vault.Range{Name: "later", Prefix: "910005", Length: 16, Luhn: true}
	g := f.Again(t, func(c *vault.Config) { c.Ranges = []vault.Range{later} })
	tok := issue(t, g, 1)
	if f.IsToken(tok.Number.ASN()) {
		t.Fatal("known before it was looked for: the test does not see what it is for")
	}
	got, err := f.Reader().ByNumber(t.Context(), tok.Number, f.Clock.Now())
	if err != nil || got.Ref != tok.Ref {
		t.Fatalf("by its number: %v, %v", got.Ref, err)
	}
	if !f.IsToken(tok.Number.ASN()) {
		t.Error("its number could be a card's, once the range is known")
	}

	for name, look := range map[string]func(*vault.Vault) (token.Number, error){
		"by reference": func(v *vault.Vault) (token.Number, error) {
			got, err := v.Reader().Token(t.Context(), tok.Ref)
			return got.Number, err
		},
		"to be denied": func(v *vault.Vault) (token.Number, error) {
			all, err := v.Reader().Numbers(t.Context(), []token.Ref{tok.Ref})
			return all[tok.Ref], err
		},
		"to be opened": func(v *vault.Vault) (token.Number, error) {
			got, _, err := v.Opener().Sealed(t.Context(), tok.Ref)
			return got.Number, err
		},
		"in a list": func(v *vault.Vault) (token.Number, error) {
			all, err := v.Reader().Find(t.Context(), token.Filter{Ref: tok.Ref}, token.Mark{}, 10)
			if err != nil || len(all.Tokens) != 1 {
				return token.Number{}, err
			}
			return all.Tokens[0].Number, nil
		},
		"by a timer": func(v *vault.Vault) (token.Number, error) {
			if err := v.LearnRanges(t.Context()); err != nil || !v.IsToken(tok.Number.ASN()) {
				t.Errorf("after a look its number could be a card's, %v", err)
			}
			return tok.Number, nil
		},
	} {
		later.Name, later.Prefix = later.Name+"x", fmt.Sprintf("91001%d", len(later.Name)-len("later"))
		old := f.Again(t) // does not know the next range
		tok = issue(t, f.Again(t, func(c *vault.Config) { c.Ranges = []vault.Range{later} }), 1)
		if n, err := look(old.Vault); err != nil || n.Digits() != tok.Number.Digits() {
			t.Errorf("%s: %v, %v", name, n, err)
		}
	}
}

// damagedRange: a range that cannot be opened holds up none that was made after it. It is
// told, and learned once it can be opened.
func damagedRange(t *testing.T, f *Fixture) {
	old, other := f.Again(t), f.Again(t)
	var made []token.Token
	for i, name := range []string{"first", "second"} {
		r := vault.Range{Name: name, Prefix: fmt.Sprintf("91002%d", i), Length: 16, Luhn: true}
		made = append(made, issue(t, f.Again(t, func(c *vault.Config) { c.Ranges = []vault.Range{r} }), 1))
	}
	storetest.Exec(t, f.DB, "UPDATE token_ranges SET created_at = created_at - 1, kek_version = kek_version + 256 WHERE id = 'first'")
	if err := old.LearnRanges(t.Context()); err == nil || !strings.Contains(err.Error(), "first") {
		t.Errorf("it is not told: %v", err)
	}
	if !old.IsToken(made[1].Number.ASN()) || old.IsToken(made[0].Number.ASN()) {
		t.Error("the range behind it was not learned")
	}
	if got, err := other.Reader().Token(t.Context(), made[1].Ref); err != nil || got.Number.Digits() != made[1].Number.Digits() {
		t.Errorf("a token of the range behind it: %v", err)
	}
	storetest.Exec(t, f.DB, "UPDATE token_ranges SET kek_version = kek_version - 256 WHERE id = 'first'")
	if err := old.LearnRanges(t.Context()); err != nil || !old.IsToken(made[0].Number.ASN()) {
		t.Errorf("mended: %v", err)
	}
}

// closedRange: tokens of a range that is not configured any more are renewed
// from the one that took its place, also when it is kept for a scheme's cards.
func closedRange(t *testing.T, f *Fixture) {
	metro := func(name, prefix string) func(*vault.Config) {
		return func(c *vault.Config) {
			c.CardRanges = []vault.CardRange{{Prefix: Cards.Prefix, Length: Cards.Length, Scheme: "metro"}}
			c.Ranges = []vault.Range{{Name: name, Prefix: prefix, Length: 16, Luhn: true, Scheme: "metro"}}
		}
	}
	old := issue(t, f.Again(t, metro("first", "910006")), 1)
	g := f.Again(t, metro("second", "910007"))
	next, err := g.Writer().Renew(t.Context(), renewal(t, g, old), "bank", access.Attempt{})
	if err != nil || next.Number.Digits()[:6] != "910007" {
		t.Fatalf("renewed as %v, %v", next.Number, err)
	}
	general := f.Again(t) // issued from a range for all, renewed from the scheme's
	old = issue(t, general, 2)
	if next, err = g.Writer().Renew(t.Context(), renewal(t, g, old), "bank", access.Attempt{}); err != nil || next.Number.Digits()[:6] != "910007" {
		t.Fatalf("of a range for all, renewed as %v, %v", next.Number, err)
	}
}

// lostSerials: what can never be given out is not told as fresh.
func lostSerials(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	issue(t, f, 1) // of a leased block of 8
	if c := capacityOf(t, f, Small.Name); c.Fresh != c.Size-1 {
		t.Fatalf("%d are fresh of %d", c.Fresh, c.Size)
	}
	f.SkipTo(t, Small.Name, 999_990)
	if c := capacityOf(t, f, Small.Name); c.Fresh != 10+7 {
		t.Errorf("%d are fresh; 10 were never leased, and 7 are leased and unused", c.Fresh)
	}
	storetest.Exec(t, f.DB, "DELETE FROM range_leases WHERE range_id = ?", Small.Name)
	f.SkipTo(t, Small.Name, 1_000_000)
	if c := capacityOf(t, f, Small.Name); c.Fresh != 0 {
		t.Errorf("%d are fresh where none can be given out", c.Fresh)
	}
}

// clockAhead: a process whose clock is months ahead of the one that all share
// ends no token and gives out no number that rests.
func clockAhead(t *testing.T, f *Fixture) {
	f = f.Again(t, small)
	f.SkipTo(t, Small.Name, 999_999)
	tok := issue(t, f, 1) // the last number
	wrong := NewClock(f.Clock.Now().Add(60 * 24 * time.Hour))
	g := f.Again(t, func(c *vault.Config) {
		c.Now, c.Sure = wrong.Now, func(context.Context) (time.Time, error) { return f.Clock.Now(), nil }
	})
	if moved, err := g.Writer().ExpireDue(t.Context()); moved != 0 || err != nil {
		t.Errorf("%d tokens were ended, %v", moved, err)
	}
	if got, err := g.Writer().Issue(t.Context(), g.Order(t, 2), "bank", access.Attempt{}); err == nil {
		t.Errorf("a number that %s bears is borne by %s", tok.Ref, got.Ref)
	} else {
		kind(t, err, fault.RangeExhausted)
	}
	f.Clock.Add(60 * 24 * time.Hour) // it has come by both
	if moved, err := g.Writer().ExpireDue(t.Context()); moved != 1 || err != nil {
		t.Errorf("%d tokens were ended when it was time, %v", moved, err)
	}
	issue(t, g, 2)
}
