package tokenize_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

// blind is a vault that cannot say what was done before, or show one token.
type blind struct {
	tokenize.Vault
	err error
	ref token.Ref
}

func (b *blind) Asked(ctx context.Context, caller string, a access.Attempt) (token.Token, bool, error) {
	if b.err != nil {
		return token.Token{}, false, b.err
	}
	return b.Vault.Asked(ctx, caller, a)
}

func (b *blind) Renewed(ctx context.Context, caller string, a access.Attempt) (token.Token, bool, error) {
	if b.err != nil {
		return token.Token{}, false, b.err
	}
	return b.Vault.Renewed(ctx, caller, a)
}

func (b *blind) Moved(ctx context.Context, v token.Verb, caller string, a access.Attempt) (token.Token, bool, error) {
	if b.err != nil {
		return token.Token{}, false, b.err
	}
	return b.Vault.Moved(ctx, v, caller, a)
}

func (b *blind) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	if ref == b.ref {
		return token.Token{}, fault.New(fault.StoreDown, "down")
	}
	return b.Vault.Token(ctx, ref)
}

// TestUnknownWhetherDone: where it cannot be known what an attempt did before, nothing is
// done.
func TestUnknownWhetherDone(t *testing.T) {
	b := new(blind)
	s := build(t, vaulttest.New(t), func(v tokenize.Vault) tokenize.Vault { b.Vault = v; return b })
	tok := s.issue(t, 1)
	a := access.Attempt{Key: "k"}
	b.err = fault.New(fault.StoreDown, "down")
	r := request(t, 2)
	r.Attempt = a
	_, err := s.Request(t.Context(), bank, r)
	kind(t, "requesting", err, fault.StoreDown)
	_, err = s.Renew(t.Context(), bank, tok.Ref, a)
	kind(t, "renewing", err, fault.StoreDown)
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete, Attempt: a})
	kind(t, "deleting", err, fault.StoreDown)
	b.err = nil
	if got := s.want(t, tok.Ref, token.Requested); got.RenewedBy != "" || s.tokens(t) != 1 {
		t.Errorf("%d tokens; %+v", s.tokens(t), got)
	}
}

// TestSuccessorThatCannotBeRead: it may be alive, so there is no other.
func TestSuccessorThatCannotBeRead(t *testing.T) {
	b := new(blind)
	s := build(t, vaulttest.New(t), func(v tokenize.Vault) tokenize.Vault { b.Vault = v; return b })
	all := s.chain(t, 2)
	b.ref = all[1].Ref
	_, err := s.Renew(t.Context(), bank, all[0].Ref, access.Attempt{})
	kind(t, "renewing", err, fault.StoreDown)
	if n := s.tokens(t); n != 2 {
		t.Errorf("%d tokens", n)
	}
}

// TestRenewedBefore: an attempt that renewed a token gets the one that it made, whatever
// became of both since.
func TestRenewedBefore(t *testing.T) {
	s := open(t)
	old, a := s.issue(t, 1), access.Attempt{Key: "k"}
	next, err := s.Renew(t.Context(), bank, old.Ref, a)
	if err != nil {
		t.Fatal(err)
	}
	s.move(t, old.Ref, token.Delete)
	if got, err := s.Renew(t.Context(), bank, old.Ref, a); err != nil || got.Ref != next.Ref || got.State != token.Deleted {
		t.Errorf("%s %s, %v", got.Ref, got.State, err)
	}
	_, err = s.Renew(t.Context(), bank, old.Ref, access.Attempt{Key: "another"})
	kind(t, "another attempt", err, fault.TokenState)
}

// TestRenewedMeanwhile: of two tries of one attempt at once, the second is given the first's
// token, and the record says which that is.
func TestRenewedMeanwhile(t *testing.T) {
	f := vaulttest.New(t)
	v := new(shaky)
	s := build(t, f, func(inner tokenize.Vault) tokenize.Vault { v.Vault = inner; return v })
	first := build(t, f, nil)
	old, a := s.issue(t, 1), access.Attempt{Key: "k"}
	var next token.Token
	v.moved = func() {
		var err error
		if next, err = first.Renew(t.Context(), bank, old.Ref, a); err != nil {
			t.Error(err)
		}
	}
	got, err := s.Renew(t.Context(), bank, old.Ref, a)
	if err != nil || got.Ref != next.Ref {
		t.Fatalf("%s and %s, %v", got.Ref, next.Ref, err)
	}
	if e := s.notes.last(); e.Outcome != audit.Allowed || e.Object != string(next.Ref) || e.Reason != "asked-again" {
		t.Errorf("recorded %+v", e)
	}
}

// TestRenewalIsTheOnlyOne: where a requestor gets the same token for a card, device and day,
// a renewal is that day's; where it gets another each time, renewals are each another too.
func TestRenewalIsTheOnlyOne(t *testing.T) {
	for _, p := range []tokenize.Duplicates{tokenize.SameToken, tokenize.NewToken} {
		s := agreed(t, vaulttest.New(t), tokenize.Policy{Duplicates: p})
		tomorrow := token.Day{Year: 2026, Month: 3, Day: 3}
		r := request(t, 1)
		r.Device = "phone"
		old, err := s.Request(t.Context(), bank, r)
		if err != nil {
			t.Fatal(err)
		}
		next, err := s.Renew(t.Context(), bank, old.Ref, access.Attempt{})
		if err != nil {
			t.Fatal(err)
		}
		r.Day = &tomorrow
		got, err := s.Request(t.Context(), bank, r)
		if same := got.Ref == next.Ref; err != nil || same != (p == tokenize.SameToken) {
			t.Errorf("%s: asking for the day of a renewal gives it: %v, %v", p, same, err)
		}
	}
	s := open(t)
	one, two := s.issue(t, 1), s.issue(t, 1)
	a, err := s.Renew(t.Context(), bank, one.Ref, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Renew(t.Context(), bank, two.Ref, access.Attempt{}); err != nil || a.Ref == b.Ref || b.Renews != two.Ref {
		t.Errorf("renewals of two tokens of a card: %s and %s, %v", a.Ref, b.Ref, err)
	}
}

// TestDeletedFollowerStays: a token that follows and was deleted before is not deleted, nor
// recorded, again.
func TestDeletedFollowerStays(t *testing.T) {
	s := open(t)
	all := s.chain(t, 2)
	s.move(t, all[1].Ref, token.Delete)
	n := len(s.notes.entries)
	s.move(t, all[0].Ref, token.Delete)
	if got := s.records(n, all[1].Ref, "following "+string(all[0].Ref)+": delete: lost"); got != 0 {
		t.Errorf("recorded %d times", got)
	}
}
