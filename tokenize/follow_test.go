package tokenize_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// telling is a shop that keeps its events.
func telling(t *testing.T) shop {
	t.Helper()
	f := vaulttest.New(t)
	box, err := outbox.New(outbox.Config{DB: f.DB, Now: f.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return build(t, f.Again(t, func(c *vault.Config) { c.Events = box }), nil)
}

func (s shop) events(t *testing.T, ref token.Ref, what string) (n int) {
	t.Helper()
	if err := s.DB.Read(t.Context()).Raw("SELECT count(*) FROM events WHERE ref = ? AND type = ?", string(ref), what).Row().Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// records counts what was recorded of a token after the first n records.
func (s shop) records(n int, ref token.Ref, reason string) (found int) {
	s.notes.mu.Lock()
	defer s.notes.mu.Unlock()
	for _, e := range s.notes.entries[n:] {
		if e.Object == string(ref) && e.Reason == reason && e.Action == access.TokenManage {
			found++
		}
	}
	return found
}

// chain makes a token and those that follow it.
func (s shop) chain(t *testing.T, n int) []token.Token {
	t.Helper()
	r := request(t, 1)
	r.Lifetime = 2 * time.Hour
	tok, err := s.Request(t.Context(), bank, r)
	all := []token.Token{tok}
	for err == nil && len(all) < n {
		tok, err = s.Renew(t.Context(), bank, tok.Ref, access.Attempt{})
		all = append(all, tok)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (s shop) move(t *testing.T, ref token.Ref, v token.Verb) {
	t.Helper()
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: ref, Verb: v, Reason: "lost"}); err != nil {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	s := telling(t)
	all := s.chain(t, 3)
	before := len(s.notes.entries)
	s.move(t, all[0].Ref, token.Suspend)
	s.move(t, all[0].Ref, token.Suspend) // tells and records nothing of the others again
	for i, tok := range all {
		s.want(t, tok.Ref, token.Suspended, token.ByRequestor)
		_, err := s.Renew(t.Context(), bank, tok.Ref, access.Attempt{})
		kind(t, "renewing what is held back", err, fault.TokenState)
		want := "following " + string(all[0].Ref) + ": suspend as REQUESTOR: lost"
		if n := s.records(before, tok.Ref, want); i > 0 && n != 1 {
			t.Errorf("%d records of token %d", n, i)
		}
		if n := s.events(t, tok.Ref, "token.suspended"); n != 1 {
			t.Errorf("%d events of token %d", n, i)
		}
	}
	if n := s.tokens(t); n != 3 {
		t.Errorf("%d tokens", n)
	}
	// Who else holds one keeps it.
	if _, err := s.Move(t.Context(), operator, tokenize.Move{Ref: all[1].Ref, Verb: token.Suspend}); err != nil {
		t.Fatal(err)
	}
	s.move(t, all[0].Ref, token.Resume)
	s.want(t, all[0].Ref, token.Active)
	s.want(t, all[1].Ref, token.Suspended, token.ByRisk)
	s.want(t, all[2].Ref, token.Suspended, token.ByRisk)
	if _, err := s.Move(t.Context(), operator, tokenize.Move{Ref: all[1].Ref, Verb: token.Resume}); err != nil {
		t.Fatal(err)
	}
	s.want(t, all[2].Ref, token.Active)

	// Forward, not backward.
	s.move(t, all[1].Ref, token.Suspend)
	s.want(t, all[0].Ref, token.Active)
	s.move(t, all[1].Ref, token.Resume)
	// One that was deleted by itself does not hide those after it.
	if _, err := s.Writer().Move(t.Context(), all[1].Ref, token.Active, token.Delete, s.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	s.move(t, all[0].Ref, token.Delete)
	for _, tok := range all {
		s.want(t, tok.Ref, token.Deleted)
		if n := s.events(t, tok.Ref, "token.deleted"); n != 1 {
			t.Errorf("%d events", n)
		}
		_, err := s.Renew(t.Context(), bank, tok.Ref, access.Attempt{})
		kind(t, "renewing what is gone", err, fault.TokenState)
	}
}

// TestDecliningFollows: a token that the issuer declines leaves none behind.
func TestDecliningFollows(t *testing.T) {
	s := open(t)
	all := s.chain(t, 2)
	if _, err := s.Writer().Move(t.Context(), all[1].Ref, token.Requested, token.Deliver, s.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Decide(t.Context(), bank, all[0].Ref, token.DecisionDeclined, access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	s.want(t, all[0].Ref, token.Deleted)
	s.want(t, all[1].Ref, token.Deleted)
}

// TestTidyingUpDoesNotFollow: to delete a token that has ended leaves alone the
// one that took its place.
func TestTidyingUpDoesNotFollow(t *testing.T) {
	s := open(t)
	all := s.chain(t, 2)
	s.Clock.Set(all[0].NotAfter)
	_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: all[0].Ref, Verb: token.Suspend})
	kind(t, "suspending what has ended", err, fault.TokenExpired)
	s.move(t, all[0].Ref, token.Delete)
	s.want(t, all[0].Ref, token.Deleted)
	s.want(t, all[1].Ref, token.Requested)
}

// TestFollowMeanwhile: a token that is renewed between the look and the
// suspension, or whose successor is, leaves none alive, and nothing is half
// done while others keep moving one of them.
func TestFollowMeanwhile(t *testing.T) {
	v := new(shaky)
	f := vaulttest.New(t)
	s := build(t, f, func(w tokenize.Vault) tokenize.Vault { v.Vault = w; return v })
	other := build(t, f.Again(t), nil)
	for n := 1; n <= 2; n++ {
		all := s.chain(t, n)
		v.moved = func() {
			v.moved = nil
			tok, err := other.Renew(t.Context(), bank, all[n-1].Ref, access.Attempt{})
			if err != nil {
				t.Error(err)
			}
			all = append(all, tok)
		}
		s.move(t, all[0].Ref, token.Suspend)
		if len(all) != n+1 {
			t.Fatal("nobody came between")
		}
		for _, tok := range all {
			s.want(t, tok.Ref, token.Suspended, token.ByRequestor)
		}
	}
	all := s.chain(t, 2)
	by := 0
	v.moved = func() { // each time by another, so that each time it has changed
		a := token.Assurance{Method: fmt.Sprint(10 + by)}
		by++
		if _, err := other.Update(t.Context(), bank, all[1].Ref, token.Attributes{Assurance: &a}, access.Attempt{}); err != nil {
			t.Error(err)
		}
	}
	before := len(s.notes.entries)
	_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: all[0].Ref, Verb: token.Suspend})
	kind(t, "never still", err, fault.TokenState)
	s.want(t, all[0].Ref, token.Requested)
	s.want(t, all[1].Ref, token.Requested)
	if n := s.records(before, all[1].Ref, "following "+string(all[0].Ref)+": suspend as REQUESTOR"); n != 1 || by < 2 {
		t.Errorf("%d records after %d tries", n, by)
	}
}

// TestFollowRaces: renewing and suspending, or deleting, at once in two
// processes never leaves a token alive.
func TestFollowRaces(t *testing.T) {
	f := vaulttest.New(t)
	shops := []shop{build(t, f, nil), build(t, f.Again(t), nil)}
	for round, v := range []token.Verb{token.Suspend, token.Delete, token.Suspend, token.Delete} {
		all := shops[0].chain(t, 1+round/2)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				var err error
				if i < 2 {
					_, err = shops[i].Move(t.Context(), bank, tokenize.Move{Ref: all[0].Ref, Verb: v})
				} else {
					_, err = shops[i%2].Renew(t.Context(), bank, all[i%len(all)].Ref, access.Attempt{})
				}
				if err != nil && (i < 2 || fault.KindOf(err) != fault.TokenState) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		wg.Wait()
		var n int64
		err := f.DB.Read(t.Context()).Table("tokens").Where("state NOT IN ?", []string{"SUSPENDED", "DELETED"}).Count(&n).Error
		if err != nil || n > 0 {
			t.Fatalf("%s: %d tokens live, %v", v, n, err)
		}
	}
}

// TestDecisionFollows: a token that the issuer wants to ask about first is not
// handed out by way of the one that was made after it.
func TestDecisionFollows(t *testing.T) {
	s := telling(t)
	all := s.chain(t, 3)
	decide := func(d token.Decision) {
		t.Helper()
		if _, err := s.Decide(t.Context(), bank, all[0].Ref, d, access.Attempt{}); err != nil {
			t.Fatal(err)
		}
	}
	deliver := func(tok token.Token) error {
		now, err := s.Reader().Token(t.Context(), tok.Ref)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Writer().Move(t.Context(), tok.Ref, now.State, token.Deliver, s.Clock.Now())
		return err
	}
	if err := deliver(all[2]); err != nil { // fetched before: it keeps its approval
		t.Fatal(err)
	}
	decide(token.DecisionStepUp)
	for i, tok := range all {
		if err := deliver(tok); (err == nil) != (i == 2) {
			t.Errorf("token %d is handed out: %v", i, err)
		}
	}
	_, err := s.Renew(t.Context(), bank, all[1].Ref, access.Attempt{})
	kind(t, "renewing what is asked about", err, fault.TokenState)
	decide(token.DecisionApproved)
	for i, tok := range all {
		if err := deliver(tok); err != nil {
			t.Errorf("token %d after all: %v", i, err)
		}
		if n := s.events(t, tok.Ref, "token.decided"); i < 2 && n != 2 || i == 2 && n != 0 {
			t.Errorf("%d events of token %d", n, i)
		}
	}
}
