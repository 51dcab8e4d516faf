package tokenize_test

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

func TestRenew(t *testing.T) {
	s := open(t)
	r := request(t, 1)
	r.PSN, r.FormFactor, r.Device, r.Assurance = "01", token.FormBand, "b1", token.Assurance{Method: "12"}
	r.Controls = token.Controls{MaxCount: 9}
	old, err := s.Request(t.Context(), bank, r)
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.Renew(t.Context(), bank, old.Ref, access.Attempt{Key: "r"})
	if err != nil || !next.NotBefore.Equal(old.NotAfter.Add(-10*time.Minute)) || !next.NotAfter.Equal(old.NotAfter.Add(day)) ||
		next.PAR != old.PAR || next.PANLast4 != old.PANLast4 || next.Number.Digits() == old.Number.Digits() || next.Renews != old.Ref ||
		next.Device != "b1" || next.PSN != "01" || next.FormFactor != token.FormBand || next.Assurance != old.Assurance ||
		!reflect.DeepEqual(next.Controls, old.Controls) || next.Location != old.Location || next.State != token.Requested {
		t.Fatalf("%+v, %v", next, err)
	}
	if e := s.notes.last(); e.Action != access.TokenRenew || e.Object != string(next.Ref) || e.Reason != "renews "+string(old.Ref) {
		t.Errorf("recorded %+v", e)
	}
	for name, a := range map[string]access.Attempt{"the same attempt": {Key: "r"}, "another": {Key: "s"}, "none": {}} {
		if again, err := s.Renew(t.Context(), bank, old.Ref, a); err != nil || again.Ref != next.Ref {
			t.Errorf("%s: %v, %v", name, again.Ref, err)
		}
	}
	// For a while both are good.
	both := old.NotAfter.Add(-5 * time.Minute)
	if now := s.want(t, old.Ref, token.Requested); !now.Live(both, 0) || !next.Live(both, 0) || now.RenewedBy != next.Ref {
		t.Errorf("%+v", now)
	}
	for name, c := range map[string]struct {
		c    access.Caller
		want fault.Kind
	}{
		"another requestor": {rival, fault.TokenUnknown}, "a terminal": {terminal, fault.Denied}, "an operator": {operator, fault.Denied},
		"another's wallet": {access.Caller{ID: "w", Role: access.Wallet, Scopes: access.Actions, Requestor: "99999999999"}, fault.TokenUnknown},
	} {
		_, err := s.Renew(t.Context(), c.c, old.Ref, access.Attempt{})
		kind(t, name, err, c.want)
	}
	wallet := access.Caller{ID: "w", Role: access.Wallet, Scopes: access.Actions, Requestor: bankID}
	_, err = s.Renew(t.Context(), wallet, next.Ref, access.Attempt{})
	kind(t, "the day after tomorrow", err, fault.DayOutOfReach)

	// When the successor is gone, there can be another one.
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: next.Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	second, err := s.Renew(t.Context(), wallet, old.Ref, access.Attempt{})
	if err != nil || second.Ref == next.Ref {
		t.Fatal(err)
	}
	s.Clock.Set(old.NotAfter.Add(3 * day))
	third, err := s.Renew(t.Context(), wallet, old.Ref, access.Attempt{})
	if err != nil || third.Ref == second.Ref || !third.NotBefore.Equal(s.Clock.Now()) {
		t.Fatalf("after its end: %+v, %v", third, err)
	}
}

func TestRenewRefuses(t *testing.T) {
	s := open(t)
	renew := func(ref token.Ref, want fault.Kind) {
		t.Helper()
		_, err := s.Renew(t.Context(), bank, ref, access.Attempt{})
		kind(t, string(want), err, want)
	}
	held, gone := s.issue(t, 1), s.issue(t, 1)
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: held.Ref, Verb: token.Suspend}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Move(t.Context(), bank, tokenize.Move{Ref: gone.Ref, Verb: token.Delete}); err != nil {
		t.Fatal(err)
	}
	renew(held.Ref, fault.TokenState)
	renew(gone.Ref, fault.TokenState)
	renew("trAAAAAAAAAAAAAAAAAAAAAAAAAA", fault.TokenUnknown)
	renew(token.Ref(vaulttest.Card(t, 1).Reveal()), fault.TokenUnknown)

	r := request(t, 2)
	r.PANExpiry = "2603"
	old, err := s.Request(t.Context(), bank, r)
	if err != nil {
		t.Fatal(err)
	}
	s.Clock.Set(time.Date(2026, 3, 31, 20, 0, 0, 0, time.UTC)) // April in Shanghai
	renew(old.Ref, fault.CardExpired)
	if n := s.tokens(t); n != 3 {
		t.Errorf("%d tokens", n)
	}
}

// TestRenewRaces: whoever asks at once, in two processes and with attempts of
// their own, gets the one successor.
func TestRenewRaces(t *testing.T) {
	f := vaulttest.New(t)
	for _, p := range []tokenize.Duplicates{tokenize.NewToken, tokenize.SameToken} {
		shops := []shop{agreed(t, f, tokenize.Policy{Duplicates: p}), agreed(t, f.Again(t), tokenize.Policy{Duplicates: p})}
		before := shops[0].tokens(t)
		old := shops[0].issue(t, len(p))
		refs := make([]token.Ref, 16)
		var wg sync.WaitGroup
		for i := range refs {
			wg.Go(func() {
				tok, err := shops[i%2].Renew(t.Context(), bank, old.Ref, access.Attempt{Key: string(p) + string(rune('a'+i))})
				if err != nil {
					t.Error(err)
				}
				refs[i] = tok.Ref
			})
		}
		wg.Wait()
		for _, r := range refs {
			if r != refs[0] || r == "" {
				t.Fatalf("%s: two successors: %s, %s", p, r, refs[0])
			}
		}
		if n := shops[0].tokens(t) - before; n != 2 {
			t.Fatalf("%s: %d tokens", p, n)
		}
	}
}

// TestRenewFails: before and after taking effect, and asked again.
func TestRenewFails(t *testing.T) {
	down := fault.New(fault.StoreDown, "down")
	v := new(shaky)
	s := build(t, vaulttest.New(t), func(w tokenize.Vault) tokenize.Vault { v.Vault = w; return v })
	old := s.issue(t, 1)
	a := access.Attempt{Key: "k"}
	v.before = down
	_, err := s.Renew(t.Context(), bank, old.Ref, a)
	kind(t, "failed before", err, fault.StoreDown)
	if n := s.tokens(t); n != 1 {
		t.Fatalf("%d tokens", n)
	}
	v.before, v.after = nil, down
	_, err = s.Renew(t.Context(), bank, old.Ref, a)
	kind(t, "failed after", err, fault.StoreDown)
	v.after = nil
	for _, a := range []access.Attempt{a, {}} {
		tok, err := s.Renew(t.Context(), bank, old.Ref, a)
		if err != nil || tok.Renews != old.Ref || s.tokens(t) != 2 {
			t.Fatalf("asked again: %v, %d tokens", err, s.tokens(t))
		}
	}
	// Suspended between the look and the renewal: refused, and nothing is made.
	other := s.issue(t, 2)
	v.moved = func() {
		v.moved = nil
		if _, err := s.Writer().Move(t.Context(), other.Ref, token.Requested, token.Suspend, s.Clock.Now()); err != nil {
			t.Error(err)
		}
	}
	_, err = s.Renew(t.Context(), bank, other.Ref, access.Attempt{})
	kind(t, "suspended meanwhile", err, fault.TokenState)
	if n := s.tokens(t); n != 3 {
		t.Fatalf("%d tokens", n)
	}
}

// TestEveryChangeFails: each change, failing before and after it takes effect;
// asked again, it has happened once.
func TestEveryChangeFails(t *testing.T) {
	down := fault.New(fault.StoreDown, "down")
	v := new(shaky)
	s := build(t, vaulttest.New(t), func(w tokenize.Vault) tokenize.Vault { v.Vault = w; return v })
	controls := token.Controls{MaxCount: 1}
	for name, do := range map[string]func(ref token.Ref) (token.Token, error){
		"decide": func(ref token.Ref) (token.Token, error) {
			return s.Decide(t.Context(), bank, ref, token.DecisionStepUp, access.Attempt{})
		},
		"approve": func(ref token.Ref) (token.Token, error) {
			return s.Decide(t.Context(), bank, ref, token.DecisionApproved, access.Attempt{})
		},
		"notify": func(ref token.Ref) (token.Token, error) {
			return s.Notify(t.Context(), bank, ref, token.Notice{Result: token.Success}, access.Attempt{})
		},
		"update": func(ref token.Ref) (token.Token, error) {
			return s.Update(t.Context(), bank, ref, token.Attributes{Controls: &controls}, access.Attempt{})
		},
		"suspend": func(ref token.Ref) (token.Token, error) {
			return s.Move(t.Context(), bank, tokenize.Move{Ref: ref, Verb: token.Suspend, Attempt: access.Attempt{Key: "k"}})
		},
	} {
		tok := s.issue(t, 1)
		v.before = down
		_, err := do(tok.Ref)
		kind(t, name+" failed before", err, fault.StoreDown)
		if got := s.want(t, tok.Ref, token.Requested); got.Revision != 1 {
			t.Errorf("%s failed before and changed %+v", name, got)
		}
		v.before, v.after = nil, down
		_, err = do(tok.Ref)
		kind(t, name+" failed after", err, fault.StoreDown)
		v.after = nil
		done, err := s.Token(t.Context(), bank, tok.Ref)
		if err != nil {
			t.Fatal(err)
		}
		again, err := do(tok.Ref)
		if err != nil || again.State != done.State || again.Decision != done.Decision || !reflect.DeepEqual(again.Suspenders, done.Suspenders) ||
			!reflect.DeepEqual(again.Controls, done.Controls) {
			t.Errorf("%s again: %+v, %v; it was %+v", name, again, err, done)
		}
	}
}
