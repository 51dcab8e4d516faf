package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

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
	if moved, err := f.Writer().ExpireDue(t.Context()); err != nil || moved != 1 {
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
