package vaulttest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// change does v to a token as it is.
func change(t testing.TB, f *Fixture, c token.Change) (token.Token, error) {
	t.Helper()
	now, err := f.Reader().Token(t.Context(), c.Ref)
	if err != nil {
		t.Fatal(err)
	}
	c.From, c.Revision, c.At = now.State, now.Revision, f.Clock.Now()
	return f.Writer().Change(t.Context(), c, "", access.Attempt{})
}

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

func attributes(t *testing.T, f *Fixture) {
	o := f.Order(t, 1)
	o.PSN, o.Device, o.FormFactor, o.Decision = "01", "device-1", token.FormWatch, token.DecisionPending
	o.Assurance = token.Assurance{Method: "11", Data: "asked twice"}
	o.Controls = token.Controls{Merchants: []string{"m1", "m2"}, MCC: []string{"4111"}, MaxSum: 5000, MaxCount: 3,
		Channels: []token.Channel{token.Contactless}, Locations: []token.Location{"03"}}
	made, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Again(t).Reader().Token(t.Context(), o.Ref)
	if err != nil || got.PSN != "01" || got.Device != "device-1" || got.FormFactor != token.FormWatch || got.Decision != token.DecisionPending ||
		got.Assurance != o.Assurance || !reflect.DeepEqual(got.Controls, o.Controls) || !reflect.DeepEqual(made.Controls, o.Controls) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, v := range []token.Verb{token.Deliver, token.Activate, token.Provision} {
		_, err := change(t, f, token.Change{Ref: o.Ref, Verb: v})
		kind(t, err, fault.TokenState) // nobody has decided
	}
	if _, err := change(t, f, token.Change{Ref: o.Ref, Verb: token.Approve}); err != nil {
		t.Fatal(err)
	}
	a, none := token.Assurance{Method: "14"}, token.Controls{}
	if _, err := change(t, f, token.Change{Ref: o.Ref, Verb: token.Update, Set: token.Attributes{Assurance: &a, Controls: &none}}); err != nil {
		t.Fatal(err)
	}
	_, err = change(t, f, token.Change{Ref: o.Ref, Verb: token.Fail, Notice: token.Notice{Result: token.Failure, Reason: "no room"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err = f.Reader().Token(t.Context(), o.Ref)
	want := &token.Notice{Result: token.Failure, Reason: "no room", At: f.Clock.Now()}
	if err != nil || got.Assurance != a || !got.Controls.IsZero() || !reflect.DeepEqual(got.Provisioned, want) || got.Decision != token.DecisionApproved {
		t.Fatalf("%+v, %v", got, err)
	}
}

// longerWindow: a number stays away for as long as ever after a window that was
// made longer, and for as long as before after one that was made shorter.
func longerWindow(t *testing.T, f *Fixture) {
	tok := issue(t, f, 1)
	freeAfter := func() (at int64) {
		t.Helper()
		if err := f.DB.Read(t.Context()).Raw("SELECT free_after FROM numbers").Scan(&at).Error; err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := freeAfter()
	for _, c := range []struct{ by, quarantine time.Duration }{{5 * 24 * time.Hour, 5 * 24 * time.Hour}, {-time.Hour, 5 * 24 * time.Hour}} {
		to := tok.NotAfter.Add(c.by)
		got, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Update, Set: token.Attributes{NotAfter: &to}, Expiry: "2604"})
		if err != nil || !got.NotAfter.Equal(to) || got.Expiry != "2604" || freeAfter()-before != c.quarantine.Milliseconds() {
			t.Fatalf("by %v: %v, %v, quarantine moved by %d ms", c.by, got.NotAfter, err, freeAfter()-before)
		}
	}
}

func finding(t *testing.T, f *Fixture) {
	var made []token.Token
	for i := range 7 {
		o := f.Order(t, i%2)
		o.Requestor = token.Requestor([]string{"12345678901", "99999999999"}[i/5])
		tok, err := f.Writer().Issue(t.Context(), o, "bank", access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, tok)
		if i%2 == 0 {
			f.Clock.Add(time.Millisecond) // others are made in the same moment
		}
	}
	if _, err := change(t, f, token.Change{Ref: made[0].Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    token.Filter
		want []int
	}{
		"all":          {token.Filter{}, []int{0, 1, 2, 3, 4, 5, 6}},
		"a reference":  {token.Filter{Ref: made[3].Ref}, []int{3}},
		"a card":       {token.Filter{PAR: made[0].PAR}, []int{0, 2, 4, 6}},
		"last four":    {token.Filter{Last4: made[1].PANLast4}, []int{1, 3, 5}},
		"a requestor":  {token.Filter{Requestor: "99999999999"}, []int{5, 6}},
		"two at once":  {token.Filter{Requestor: "99999999999", PAR: made[0].PAR}, []int{6}},
		"a state":      {token.Filter{State: token.Deleted}, []int{0}},
		"another":      {token.Filter{State: token.Requested, Requestor: "12345678901"}, []int{1, 2, 3, 4}},
		"none expired": {token.Filter{State: token.Expired}, nil},
		"nobody's":     {token.Filter{Requestor: "00000000000"}, nil},
	} {
		want := make([]token.Ref, 0, len(c.want))
		for _, i := range c.want {
			want = append(want, made[i].Ref)
		}
		for _, limit := range []int{1, 2, 100} {
			if got := pages(t, f, c.f, limit); !sameRefs(got, want) {
				t.Errorf("%s by %d: %d tokens, want %d", name, limit, len(got), len(want))
			}
		}
	}
	f.Clock.Add(24 * time.Hour)
	if got := pages(t, f, token.Filter{State: token.Expired}, 2); len(got) != 6 {
		t.Errorf("%d expired by time", len(got))
	}
	if got := pages(t, f, token.Filter{State: token.Requested}, 2); len(got) != 0 {
		t.Errorf("%d still requested", len(got))
	}
}

// pages reads all that f describes, limit at a time, and holds it to its order.
func pages(t testing.TB, f *Fixture, filter token.Filter, limit int) (refs []token.Ref) {
	t.Helper()
	var mark token.Mark
	for {
		found, more, err := f.Reader().Find(t.Context(), filter, mark, limit)
		if err != nil || len(found) > limit || more && len(found) == 0 {
			t.Fatalf("%d tokens, %v, %v", len(found), more, err)
		}
		for _, tok := range found {
			if mark.Ref != "" && (tok.CreatedAt.After(mark.CreatedAt) || tok.CreatedAt.Equal(mark.CreatedAt) && tok.Ref >= mark.Ref) {
				t.Fatalf("%s is out of order", tok.Ref)
			}
			mark = token.Mark{CreatedAt: tok.CreatedAt, Ref: tok.Ref}
			refs = append(refs, tok.Ref)
		}
		if !more {
			return refs
		}
	}
}

func sameRefs(a, b []token.Ref) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func expireDue(t *testing.T, f *Fixture) {
	short, long, held, gone := issue(t, f, 1), issue(t, f, 1), issue(t, f, 1), issue(t, f, 1)
	to := long.NotAfter.Add(time.Millisecond)
	for _, c := range []token.Change{
		{Ref: long.Ref, Verb: token.Update, Set: token.Attributes{NotAfter: &to}, Expiry: long.Expiry},
		{Ref: held.Ref, Verb: token.Suspend, By: token.ByIssuer}, {Ref: gone.Ref, Verb: token.Delete},
	} {
		if _, err := change(t, f, c); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func(limit, wantMoved int) {
		t.Helper()
		if moved, seen, err := f.Writer().ExpireDue(t.Context(), limit); err != nil || moved != wantMoved || seen != wantMoved {
			t.Fatalf("moved %d of %d, %v; want %d", moved, seen, err, wantMoved)
		}
	}
	f.Clock.Set(short.NotAfter.Add(-time.Millisecond))
	sweep(10, 0)
	f.Clock.Set(short.NotAfter)
	sweep(1, 1)
	sweep(10, 1)
	sweep(10, 0)
	for ref, want := range map[token.Ref]token.State{short.Ref: token.Expired, long.Ref: token.Requested, held.Ref: token.Expired, gone.Ref: token.Deleted} {
		got, err := f.Reader().Token(t.Context(), ref)
		if err != nil || got.State != want {
			t.Errorf("%v, %v, want %s", got.State, err, want)
		}
		if ref == held.Ref && (!got.Holds(token.ByIssuer) || !got.ChangedAt.Equal(Start)) {
			t.Errorf("the suspension was forgotten: %+v", got)
		}
		if ref == short.Ref && !got.ChangedAt.Equal(short.NotAfter) {
			t.Errorf("expired at %v", got.ChangedAt)
		}
	}
}

func expireRace(t *testing.T, f *Fixture) {
	g := f.Again(t)
	const n = 20
	for range n {
		issue(t, f, 1)
	}
	f.Clock.Add(24 * time.Hour)
	var moved atomic.Int64
	racing(6, func(i int) {
		m, _, err := []*Fixture{f, g}[i%2].Writer().ExpireDue(t.Context(), n)
		if err != nil {
			t.Error(err)
		}
		moved.Add(int64(m))
	})
	if moved.Load() != n {
		t.Fatalf("%d tokens expired %d times", n, moved.Load())
	}
}

// told is where the events of a test go. It can be made to fail.
type told struct {
	mu   sync.Mutex
	got  []event.Event
	fail error
}

func (o *told) Emit(_ *gorm.DB, e event.Event) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := e.Check(); err != nil {
		return err
	}
	if o.fail != nil {
		return o.fail
	}
	o.got = append(o.got, e)
	return nil
}

func (o *told) EmitAll(tx *gorm.DB, all []event.Event) error {
	for _, e := range all {
		if err := o.Emit(tx, e); err != nil {
			return err
		}
	}
	return nil
}

func events(t *testing.T, f *Fixture) {
	o := new(told)
	f = f.Again(t, func(c *vault.Config) { c.Events = o })
	tok := issue(t, f, 1)
	to := tok.NotAfter.Add(time.Hour)
	for _, c := range []token.Change{
		{Verb: token.StepUp}, {Verb: token.Approve}, {Verb: token.Deliver}, {Verb: token.Deliver}, // the second changes nothing
		{Verb: token.Provision, Notice: token.Notice{Result: token.Success}}, {Verb: token.Suspend, By: token.ByHolder},
		{Verb: token.Resume, By: token.ByHolder}, {Verb: token.Update, Set: token.Attributes{NotAfter: &to}, Expiry: tok.Expiry},
	} {
		c.Ref = tok.Ref
		if _, err := change(t, f, c); err != nil {
			t.Fatalf("%s: %v", c.Verb, err)
		}
	}
	now, err := f.Reader().Token(t.Context(), tok.Ref)
	if err != nil {
		t.Fatal(err)
	}
	next, err := f.Writer().Renew(t.Context(), renewal(t, f, now), "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	f.Clock.Set(to)
	if moved, _, err := f.Writer().ExpireDue(t.Context(), 10); err != nil || moved != 1 {
		t.Fatalf("%d, %v", moved, err)
	}
	if _, err := change(t, f, token.Change{Ref: tok.Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	want := []event.Type{event.Issued, event.Decided, event.Decided, event.Delivered, event.Provisioned, event.Suspended, event.Resumed,
		event.Updated, event.Issued, event.Renewed, event.Expired, event.Deleted}
	var types []event.Type
	for _, e := range o.got {
		types = append(types, e.Type)
		if e.Requestor != tok.Requestor || e.Ref != tok.Ref && e.Ref != next.Ref {
			t.Errorf("%s is about %s of %s", e.Type, e.Ref, e.Requestor)
		}
	}
	if !slices.Equal(types, want) {
		t.Fatalf("told %v\nwant %v", types, want)
	}

	// What cannot be told does not happen.
	o.fail = errors.New("no room")
	if _, err := change(t, f, token.Change{Ref: next.Ref, Verb: token.Suspend, By: token.ByRisk}); !errors.Is(err, o.fail) {
		t.Fatal(err)
	}
	if _, err := f.Writer().Issue(t.Context(), f.Order(t, 1), "bank", access.Attempt{}); !errors.Is(err, o.fail) {
		t.Fatal(err)
	}
	if got, err := f.Reader().Token(t.Context(), next.Ref); err != nil || got.State != token.Requested || count(t, f, "tokens") != 2 {
		t.Fatalf("%v, %v", got.State, err)
	}
}

// eventsRace: a card is replaced while others move its tokens. All of it is
// told, in one order for each token, without a gap.
func eventsRace(t *testing.T, f *Fixture) {
	box, err := outbox.New(outbox.Config{DB: f.DB, Now: f.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	f = f.Again(t, func(c *vault.Config) { c.Events = box })
	g := f.Again(t)
	toks := []token.Token{issue(t, f, 1), issue(t, f, 1)}
	racing(10, func(i int) {
		w := []*Fixture{f, g}[i%2]
		if i%5 == 0 {
			if _, err := w.Writer().ReplaceCard(t.Context(), Card(t, 1), Card(t, 1), token.Expiry(fmt.Sprint(3001+i)), "bank", access.Attempt{}); err != nil {
				t.Error(err)
			}
			return
		}
		for _, tok := range toks {
			for {
				_, err := change(t, w, token.Change{Ref: tok.Ref, Verb: token.Suspend, By: token.Suspenders[i%5]})
				if err == nil {
					break
				}
				if !errors.Is(err, vault.ErrConflict) {
					t.Error(err)
					return
				}
			}
		}
	})
	for _, tok := range toks {
		var n, last int64
		err := f.DB.Read(t.Context()).Raw("SELECT count(*), max(seq) FROM events WHERE ref = ?", string(tok.Ref)).Row().Scan(&n, &last)
		// Made; replaced twice; held back by four.
		if err != nil || n != last || n != 7 {
			t.Errorf("%d events up to %d, %v", n, last, err)
		}
	}
}
