package tokenize_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
	"github.com/tapvault/tapvault/vault/vaulttest"
)

func TestMove(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	for _, c := range []struct {
		v    token.Verb
		want token.State
		err  fault.Kind
	}{
		{token.Resume, "", fault.TokenState},
		{token.Suspend, token.Suspended, ""},
		{token.Suspend, token.Suspended, ""},
		{token.Resume, token.Active, ""},
		{token.Activate, "", fault.Malformed}, // not a caller's verb
		{token.Expire, "", fault.Malformed},
		{"burn", "", fault.Malformed},
		{token.Delete, token.Deleted, ""},
		{token.Delete, token.Deleted, ""},
		{token.Suspend, "", fault.TokenState},
		{token.Resume, "", fault.TokenState},
	} {
		got, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: c.v, Reason: "lost phone"})
		if c.err != "" {
			kind(t, string(c.v), err, c.err)
			continue
		}
		if err != nil || got.State != c.want {
			t.Errorf("%s: %v, %v", c.v, got.State, err)
		}
		as := map[token.Verb]string{token.Suspend: " as REQUESTOR", token.Resume: " as REQUESTOR"}[c.v]
		if e := s.notes.last(); e.Reason != string(c.v)+as+": lost phone" || e.Object != string(tok.Ref) || e.Outcome != audit.Allowed {
			t.Errorf("%s: recorded %+v", c.v, e)
		}
	}
	for name, c := range map[string]access.Caller{"another requestor": rival, "an issuer without a requestor": nobody} {
		_, err := s.Move(t.Context(), c, tokenize.Move{Ref: tok.Ref, Verb: token.Delete})
		kind(t, name, err, fault.TokenUnknown)
	}
	_, err := s.Move(t.Context(), terminal, tokenize.Move{Ref: tok.Ref, Verb: token.Delete})
	kind(t, "a terminal", err, fault.Denied)
	for _, reason := range []string{"line\nbreak", strings.Repeat("x", 65), "card 6228480000000008", "\xff"} {
		_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete, Reason: reason})
		kind(t, "a bad reason", err, fault.Malformed)
	}
}

// TestMoveRaces: suspending, resuming and deleting at once ends deleted, and
// everyone hears of a state that followed from the table.
func TestMoveRaces(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	var wg sync.WaitGroup
	for i := range 24 {
		v := []token.Verb{token.Suspend, token.Resume, token.Suspend, token.Delete}[i%4]
		wg.Go(func() {
			got, err := s.Move(t.Context(), operator, tokenize.Move{Ref: tok.Ref, Verb: v})
			if err != nil && fault.KindOf(err) != fault.TokenState {
				t.Error(err)
			}
			if err == nil && v == token.Delete && got.State != token.Deleted {
				t.Errorf("deleted, and %s", got.State)
			}
		})
	}
	wg.Wait()
	if got, err := s.Token(t.Context(), bank, tok.Ref); err != nil || got.State != token.Deleted {
		t.Fatalf("%v, %v", got.State, err)
	}
}

// shaky fails around a real vault: before a call takes effect, or after.
type shaky struct {
	tokenize.Vault
	before, after error
	moved         func() // somebody else, between a look and a move
}

func (s *shaky) around(call func() error) error {
	if s.before != nil {
		return s.before
	}
	if err := call(); err != nil {
		return err
	}
	return s.after
}

func (s *shaky) Issue(ctx context.Context, o token.Order, caller string, a access.Attempt) (t token.Token, err error) {
	err = s.around(func() error { t, err = s.Vault.Issue(ctx, o, caller, a); return err })
	return t, err
}

func (s *shaky) Change(ctx context.Context, c token.Change, caller string, a access.Attempt) (t token.Token, err error) {
	if s.moved != nil {
		s.moved()
	}
	err = s.around(func() error { t, err = s.Vault.Change(ctx, c, caller, a); return err })
	return t, err
}

func (s *shaky) Renew(ctx context.Context, o token.Order, caller string, a access.Attempt) (t token.Token, err error) {
	if s.moved != nil {
		s.moved()
	}
	err = s.around(func() error { t, err = s.Vault.Renew(ctx, o, caller, a); return err })
	return t, err
}

func TestVaultFails(t *testing.T) {
	down := fault.New(fault.StoreDown, "down")
	v := new(shaky)
	s := build(t, vaulttest.New(t), func(w tokenize.Vault) tokenize.Vault { v.Vault = w; return v })
	r := request(t, 1)
	r.Attempt = access.Attempt{Key: "k"}

	v.before = down
	_, err := s.Request(t.Context(), bank, r)
	kind(t, "failed before", err, fault.StoreDown)
	if n := s.tokens(t); n != 0 {
		t.Fatalf("%d tokens", n)
	}
	v.before, v.after = nil, down
	_, err = s.Request(t.Context(), bank, r)
	kind(t, "failed after", err, fault.StoreDown)
	v.after = nil
	tok, err := s.Request(t.Context(), bank, r)
	if n := s.tokens(t); err != nil || n != 1 {
		t.Fatalf("asked again: %v, %d tokens", err, n)
	}

	v.before = down
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend})
	kind(t, "move failed before", err, fault.StoreDown)
	if got, err := s.Token(t.Context(), bank, tok.Ref); err != nil || got.State != token.Requested {
		t.Fatalf("%v, %v", got.State, err)
	}
	v.before, v.after = nil, down
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend})
	kind(t, "move failed after", err, fault.StoreDown)
	v.after = nil
	if got, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend}); err != nil || got.State != token.Suspended {
		t.Fatalf("moved again: %v, %v", got.State, err)
	}
}

// TestMovedUnderneath: a token that others keep moving is tried a few times.
func TestMovedUnderneath(t *testing.T) {
	v := new(shaky)
	f := vaulttest.New(t)
	s := build(t, f, func(w tokenize.Vault) tokenize.Vault { v.Vault = w; return v })
	tok := s.issue(t, 1)
	times := 0
	v.moved = func() {
		if times++; times == 1 {
			if _, err := f.Writer().Move(t.Context(), tok.Ref, token.Requested, token.Deliver, s.Clock.Now()); err != nil {
				t.Error(err)
			}
		}
	}
	if got, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend}); err != nil || got.State != token.Suspended || times != 2 {
		t.Fatalf("%v after %d tries, %v", got.State, times, err)
	}
	flip := map[token.State]token.Verb{token.Suspended: token.Resume, token.Active: token.Suspend}
	v.moved = func() {
		now, err := f.Reader().Token(t.Context(), tok.Ref)
		if err == nil {
			_, err = f.Writer().Change(t.Context(), token.Change{Ref: tok.Ref, From: now.State, Verb: flip[now.State],
				At: s.Clock.Now(), By: token.ByRequestor}, "", access.Attempt{})
		}
		if err != nil {
			t.Error(err)
		}
	}
	_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete})
	kind(t, "never still", err, fault.TokenState)
}

// TestNoRecordNoAction: when the record fails, nothing happens.
func TestNoRecordNoAction(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	s.notes.err = fault.New(fault.AuditDown, "no room")
	_, err := s.Request(t.Context(), bank, request(t, 2))
	kind(t, "request", err, fault.AuditDown)
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Delete})
	kind(t, "move", err, fault.AuditDown)
	_, err = s.Token(t.Context(), bank, tok.Ref)
	kind(t, "read", err, fault.AuditDown)
	_, err = s.Token(t.Context(), terminal, tok.Ref)
	kind(t, "a refusal", err, fault.AuditDown)
	s.notes.err = nil
	if got, err := s.Token(t.Context(), bank, tok.Ref); err != nil || got.State != token.Requested || s.tokens(t) != 1 {
		t.Fatalf("%v, %v", got.State, err)
	}
}

func TestHSMFails(t *testing.T) {
	flaky := &vaulttest.Flaky{Sealer: hsmtest.New(t, hsmtest.Options{Refs: vaulttest.Keys()})}
	s := build(t, vaulttest.On(t, storetest.New(t), flaky), nil)
	for _, call := range []string{"HMAC", "Seal"} {
		for _, after := range []bool{false, true} {
			flaky.Break(call, after)
			r := request(t, 1)
			r.Attempt = access.Attempt{Key: "k"}
			if _, err := s.Request(t.Context(), bank, r); !errors.Is(err, vaulttest.ErrBroken) {
				t.Errorf("%s: %v", call, err)
			}
			for _, table := range []string{"tokens", "cards", "numbers", "attempts"} {
				var n int64
				if err := s.DB.Read(t.Context()).Table(table).Count(&n).Error; err != nil || n != 0 {
					t.Errorf("%s failed and left %d rows in %s, %v", call, n, table, err)
				}
			}
		}
	}
	flaky.Break("", false)
	s.issue(t, 1)
}

func TestDatabaseReadOnly(t *testing.T) {
	hsm := hsmtest.New(t, hsmtest.Options{Refs: vaulttest.Keys()})
	path := storetest.Path(t)
	db := storetest.Open(t, store.Config{DSN: path})
	s := build(t, vaulttest.On(t, db, hsm), nil)
	tok := s.issue(t, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Request(t.Context(), bank, request(t, 2))
	kind(t, "a closed database", err, fault.StoreDown)

	ro, err := store.Open(t.Context(), store.Config{DSN: path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	s = build(t, vaulttest.On(t, ro, hsm), nil)
	if got, err := s.Token(t.Context(), bank, tok.Ref); err != nil || got.Number.Digits() != tok.Number.Digits() {
		t.Fatalf("reading must go on: %v", err)
	}
	_, err = s.Request(t.Context(), bank, request(t, 2))
	kind(t, "request", err, fault.StoreReadOnly)
	_, err = s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend})
	kind(t, "move", err, fault.StoreReadOnly)
	if n := s.tokens(t); n != 1 {
		t.Fatalf("%d tokens", n)
	}
}

func TestDatabaseFull(t *testing.T) {
	hsm := hsmtest.New(t, hsmtest.Options{Refs: vaulttest.Keys()})
	db := storetest.Small(t, 100<<10)
	s := build(t, vaulttest.On(t, db, hsm), nil)
	made := int64(0)
	var err error
	for err == nil {
		if _, err = s.Request(t.Context(), bank, request(t, int(made))); err == nil {
			made++
		}
	}
	kind(t, "request", err, fault.StoreFull)
	for _, table := range []string{"tokens", "cards", "numbers"} {
		var n int64
		if err := db.Read(t.Context()).Table(table).Count(&n).Error; err != nil || n != made || made == 0 {
			t.Errorf("%d rows in %s after %d requests, %v", n, table, made, err)
		}
	}
}

// A suspension that is sent again after somebody resumed the token must not
// suspend it again, and its key serves for nothing else.
func TestMoveOncePerAttempt(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	first := access.Attempt{Key: "suspend-1", Digest: [32]byte{1}}
	move := func(v token.Verb, a access.Attempt) (token.State, error) {
		got, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: v, Attempt: a})
		return got.State, err
	}
	if got, err := move(token.Suspend, first); err != nil || got != token.Suspended {
		t.Fatal(got, err)
	}
	if got, err := move(token.Resume, access.Attempt{Key: "resume-1"}); err != nil || got != token.Active {
		t.Fatal(got, err)
	}
	if got, err := move(token.Suspend, first); err != nil || got != token.Active {
		t.Errorf("the same attempt again: %v, %v, want the token as it is", got, err)
	}
	_, err := move(token.Suspend, access.Attempt{Key: "suspend-1", Digest: [32]byte{2}})
	kind(t, "another body under the key", err, fault.KeyReused)
	_, err = move(token.Delete, access.Attempt{Key: "suspend-1", Digest: [32]byte{1}})
	kind(t, "another verb under the key", err, fault.KeyReused)
}
