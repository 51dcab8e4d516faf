package tokenize_test

import (
	"strings"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
)

// TestReasons: a reason is a line of up to 64 printable characters, too short of digits to
// be a card number.
func TestReasons(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	for reason, good := range map[string]bool{
		"":                         true,
		" ~":                       true,
		"\x1f":                     false,
		"\x7f":                     false,
		strings.Repeat("x", 64):    true,
		strings.Repeat("x", 65):    false,
		"12345678901":              true,
		"123456789012":             false,
		"00000000000":              true,
		"000000000000":             false,
		"99999999999":              true,
		"999999999999":             false,
		"0a1b2c3d4e5f6g7h8i9j0":    true,
		"0a1b2c3d4e5f6g7h8i9j01":   false,
		"////////////::::::::::::": true,
	} {
		_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend, Reason: reason})
		if good && err != nil || !good && fault.KindOf(err) != fault.Malformed {
			t.Errorf("%q: %v", reason, err)
		}
	}
}

// TestDeleteIsInNobodysName: whoever may delete a token does not have to speak for anyone,
// as those have to who suspend.
func TestDeleteIsInNobodysName(t *testing.T) {
	s := open(t)
	backend := bank
	backend.Scopes = []access.Action{access.TokenRequest, access.TokenManage, access.TokenRead}
	for _, by := range []token.Suspender{token.ByIssuer, token.ByRisk} {
		tok := s.issue(t, 1)
		_, err := s.Move(t.Context(), backend, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend, By: by})
		kind(t, "suspending as "+string(by), err, fault.Denied)
		if got, err := s.Move(t.Context(), backend, tokenize.Move{Ref: tok.Ref, Verb: token.Delete, By: by}); err != nil || got.State != token.Deleted {
			t.Errorf("deleting as %s: %v, %v", by, got.State, err)
		}
	}
}

// TestResumeOfAnothers: who resumes what another suspended is refused, once and on record.
func TestResumeOfAnothers(t *testing.T) {
	s := open(t)
	tok := s.issue(t, 1)
	if _, err := s.Move(t.Context(), operator, tokenize.Move{Ref: tok.Ref, Verb: token.Suspend}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Move(t.Context(), bank, tokenize.Move{Ref: tok.Ref, Verb: token.Resume})
	kind(t, "resuming", err, fault.TokenState)
	if e := s.notes.last(); e.Reason != "state" || e.Object != string(tok.Ref) {
		t.Errorf("recorded %+v", e)
	}
}

// TestBatchBounds: 500 requests are a batch, and without a key no batch is another's.
func TestBatchBounds(t *testing.T) {
	s := open(t)
	rs := make([]tokenize.Request, tokenize.MaxBatch) // of nothing
	if got, err := s.RequestBatch(t.Context(), bank, rs, access.Attempt{}); err != nil || len(got) != len(rs) {
		t.Errorf("%d results, %v", len(got), err)
	}
	_, err := s.RequestBatch(t.Context(), bank, make([]tokenize.Request, tokenize.MaxBatch+1), access.Attempt{})
	kind(t, "one more", err, fault.Malformed)
	var made []token.Ref
	for range 2 {
		got, err := s.RequestBatch(t.Context(), bank, []tokenize.Request{request(t, 1)}, access.Attempt{})
		if err != nil || got[0].Err != nil {
			t.Fatal(err, got)
		}
		made = append(made, got[0].Token.Ref)
	}
	if made[0] == made[1] {
		t.Error("a batch without a key is taken for an earlier one")
	}
}
