package audit_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
)

// sheet is a recorder in memory that can be full.
type sheet struct {
	mu      sync.Mutex
	entries []audit.Entry
	err     error
}

func (s *sheet) Record(_ context.Context, e audit.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.entries = append(s.entries, e)
	}
	return s.err
}

// later is a recorder that need not be waited for.
type later struct {
	*sheet
	waited int
}

func (l *later) Begin(ctx context.Context, e audit.Entry) (func() error, error) {
	return func() error { l.waited++; return l.Record(ctx, e) }, nil
}

func TestBegin(t *testing.T) {
	bank := access.Caller{ID: "bank", Role: access.Issuer, Scopes: []access.Action{access.TokenRead}}
	for _, full := range []error{nil, errors.New("full")} {
		s := &later{sheet: &sheet{err: full}}
		g := audit.Gate{Recorder: s}
		if _, err := g.Begin(t.Context(), bank, access.Detokenize, "tr1", ""); full == nil && !errors.Is(err, access.ErrDenied) {
			t.Errorf("without the right: %v", err)
		}
		refused := len(s.entries)
		recorded, err := g.Begin(t.Context(), bank, access.TokenRead, "tr1", "why")
		if err != nil || len(s.entries) != refused {
			t.Fatalf("begun: %v, %d records", err, len(s.entries))
		}
		if err := recorded(); !errors.Is(err, full) || s.waited != 1 {
			t.Errorf("recorded: %v", err)
		}
		if err := g.CheckBecause(t.Context(), bank, access.TokenRead, "tr1", "why"); !errors.Is(err, full) || s.waited != 2 {
			t.Errorf("checked: %v, after %d waits", err, s.waited)
		}
	}
}

func TestGate(t *testing.T) {
	bank := access.Caller{ID: "bank", Role: access.Issuer, Scopes: []access.Action{access.TokenRead}}
	full, other := errors.New("full"), errors.New("not yours")
	check := func(g audit.Gate, ctx context.Context, a access.Action) error { return g.Check(ctx, bank, a, "tr1") }
	allow := func(g audit.Gate, ctx context.Context, a access.Action) error { return g.Allow(ctx, bank, a, "tr1") }
	because := func(g audit.Gate, ctx context.Context, a access.Action) error {
		return g.CheckBecause(ctx, bank, a, "tr1", "why")
	}
	refuse := func(g audit.Gate, ctx context.Context, a access.Action) error {
		return g.Refuse(ctx, bank, a, "tr1", "late", other)
	}
	for _, c := range []struct {
		name   string
		call   func(audit.Gate, context.Context, access.Action) error
		action access.Action
		full   error
		want   error
		record string // outcome and reason; "": none
	}{
		{"check, allowed", check, access.TokenRead, nil, nil, "allowed "},
		{"check, denied", check, access.Detokenize, nil, access.ErrDenied, "refused denied"},
		{"check, allowed, no room", check, access.TokenRead, full, full, ""},
		{"check, denied, no room", check, access.Detokenize, full, full, ""},
		{"check because, allowed", because, access.TokenRead, nil, nil, "allowed why"},
		{"check because, denied", because, access.Detokenize, nil, access.ErrDenied, "refused denied"},
		{"check because, no room", because, access.TokenRead, full, full, ""},
		{"allow, allowed", allow, access.TokenRead, nil, nil, ""},
		{"allow, allowed, no room", allow, access.TokenRead, full, nil, ""},
		{"allow, denied", allow, access.Detokenize, nil, access.ErrDenied, "refused denied"},
		{"allow, denied, no room", allow, access.Detokenize, full, full, ""},
		{"refuse", refuse, access.TokenRead, nil, other, "refused late"},
		{"refuse, no room", refuse, access.TokenRead, full, full, ""},
	} {
		s := &sheet{err: c.full}
		ctx := audit.WithRequestID(t.Context(), "req-1")
		if err := c.call(audit.Gate{Recorder: s}, ctx, c.action); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		got := ""
		if len(s.entries) == 1 {
			e := s.entries[0]
			got = string(e.Outcome) + " " + e.Reason
			if e.Object != "tr1" || e.Request != "req-1" || e.Action != c.action || e.Caller.ID != "bank" {
				t.Errorf("%s: recorded %+v", c.name, e)
			}
		}
		if got != c.record || len(s.entries) > 1 {
			t.Errorf("%s: recorded %q, want %q", c.name, got, c.record)
		}
	}
	if audit.RequestID(t.Context()) != "" {
		t.Error("a request id out of nowhere")
	}
}
