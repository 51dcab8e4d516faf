package api

import (
	"context"
	"errors"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
)

// requestTokens issues a batch. What is wrong with one record is the answer to
// that record; the others are issued.
func (s *server) requestTokens(ctx context.Context, q *request) (any, error) {
	var in wire.TokenBatch
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	if err := s.Gate.Allow(ctx, q.caller, access.TokenRequest, "batch"); err != nil {
		return nil, err
	}
	requests, wrong := recordsIn(in.Tokens, func(w *wire.TokenRequest) (tokenize.Request, error) { return s.tokenRequest(ctx, q, w) })
	results, err := s.Lifecycle.RequestBatch(ctx, q.caller, requests, q.attempt)
	if err != nil {
		return nil, err
	}
	return wire.TokenResults{Results: resultsOut(ctx, s, results, wrong, func(r tokenize.Result) error { return r.Err },
		func(p *wire.Problem) wire.TokenResult { return wire.TokenResult{Problem: p} },
		func(r tokenize.Result) wire.TokenResult {
			t := tokenOut(r.Token)
			return wire.TokenResult{Token: &t}
		})}, nil
}

// problemOf is the problem of one record of a batch.
func (s *server) problemOf(ctx context.Context, err error) *wire.Problem {
	p, row := describe(err)
	id := audit.RequestID(ctx)
	p.Instance = "urn:tapvault:request:" + id
	if row.status >= 500 {
		s.Log.ErrorContext(ctx, "a record of a batch failed", "request", id, "problem", p.Type, "error", err.Error())
	}
	return &p
}

// tokens finds tokens, page by page.
func (s *server) tokens(ctx context.Context, q *request) (any, error) {
	f, err := q.tokenFilter()
	if err != nil {
		return nil, err
	}
	limit, err := q.page()
	if err != nil {
		return nil, err
	}
	found, next, err := s.Directory.Search(ctx, q.caller, f, q.query["cursor"], limit)
	if errors.Is(err, tokenize.ErrCursor) {
		return nil, badCursor()
	}
	if err != nil {
		return nil, err
	}
	out := wire.TokenList{Tokens: make([]wire.Token, len(found.Tokens)), Next: next}
	for i, t := range found.Tokens {
		out.Tokens[i] = tokenOut(t)
	}
	for _, ref := range found.Unreadable {
		out.Unreadable = append(out.Unreadable, string(ref))
	}
	return out, nil
}

func (q *request) tokenFilter() (f token.Filter, err error) {
	e, err := q.eventFilter() // reference and requestor
	if err != nil {
		return f, err
	}
	f = token.Filter{Ref: e.Ref, Requestor: e.Requestor, PAR: token.PAR(q.query["par"]),
		Last4: q.query["last4"], State: token.State(q.query["state"])}
	if f.PAR != "" && !f.PAR.Valid() {
		return f, &wire.FieldError{Path: "par", Text: "must be 29 upper-case letters and digits"}
	}
	if f.Last4 != "" && !token.IsLast4(f.Last4) {
		return f, &wire.FieldError{Path: "last4", Text: "must be 4 digits"}
	}
	for _, known := range token.States {
		if f.State == known {
			return f, nil
		}
	}
	if f.State != "" {
		return f, &wire.FieldError{Path: "state", Text: "must be a state of tokens"}
	}
	return f, nil
}

func (s *server) renew(ctx context.Context, q *request) (any, error) {
	var in wire.Renewal
	ref, err := refAndBody(q, &in)
	if err != nil {
		return nil, err
	}
	t, err := s.Lifecycle.Renew(ctx, q.caller, ref, q.attempt)
	if err != nil {
		return nil, err
	}
	return withStatus{201, tokenOut(t)}, nil
}

func (s *server) update(ctx context.Context, q *request) (any, error) {
	var in wire.Attributes
	ref, err := refAndBody(q, &in)
	if err != nil {
		return nil, err
	}
	var set token.Attributes
	if in.Assurance != nil {
		a, err := assuranceIn(in.Assurance)
		if err != nil {
			return nil, err
		}
		set.Assurance = &a
	}
	if in.Controls != nil {
		c, err := controlsIn(in.Controls)
		if err != nil {
			return nil, err
		}
		set.Controls = &c
	}
	set.NotAfter = in.NotAfter
	return answerToken(s.Lifecycle.Update(ctx, q.caller, ref, set, q.attempt))
}

func (s *server) decide(ctx context.Context, q *request) (any, error) {
	var in wire.Decision
	ref, err := refAndBody(q, &in)
	if err != nil {
		return nil, err
	}
	return answerToken(s.Lifecycle.Decide(ctx, q.caller, ref, token.Decision(in.Decision), q.attempt))
}

func (s *server) notify(ctx context.Context, q *request) (any, error) {
	var in wire.Notice
	ref, err := refAndBody(q, &in)
	if err != nil {
		return nil, err
	}
	n := token.Notice{Result: token.Result(in.Result), Reason: in.Reason, At: s.Now()}
	return answerToken(s.Lifecycle.Notify(ctx, q.caller, ref, n, q.attempt))
}

// refAndBody reads what most operations on one token take.
func refAndBody(q *request, in wire.Body) (token.Ref, error) {
	ref, err := tokenRef(q)
	if err == nil {
		err = wire.Decode(q.body, in)
	}
	return ref, err
}

func assuranceIn(w *wire.Assurance) (token.Assurance, error) {
	a := token.Assurance{Method: w.Method, Data: w.Data}
	if err := a.Check(); err != nil {
		return a, at("token_assurance", err)
	}
	return a, nil
}

func controlsIn(w *wire.Controls) (token.Controls, error) {
	c := token.Controls{
		Requestors: words[token.Requestor](w.Requestors), Locations: words[token.Location](w.Locations),
		Merchants: w.Merchants, TerminalGroups: w.TerminalGroups, MCC: w.MCC,
		Channels: words[token.Channel](w.Channels), Countries: w.Countries,
		MaxAmount: token.Amount(w.MaxAmount), MaxSum: token.Amount(w.MaxSum), MaxCount: int(w.MaxCount),
	}
	if err := c.Validate(); err != nil {
		return c, at("domain_controls", err)
	}
	return c, nil
}

func controlsOut(c token.Controls) *wire.Controls {
	if c.IsZero() {
		return nil
	}
	return &wire.Controls{
		Requestors: words[string](c.Requestors), Locations: words[string](c.Locations),
		Merchants: c.Merchants, TerminalGroups: c.TerminalGroups, MCC: c.MCC,
		Channels: words[string](c.Channels), Countries: c.Countries,
		MaxAmount: uint32(c.MaxAmount), MaxSum: uint32(c.MaxSum), MaxCount: uint32(c.MaxCount), //nolint:gosec // Validate bounds it
	}
}

func assuranceOut(a token.Assurance) *wire.Assurance {
	if a == (token.Assurance{}) {
		return nil
	}
	if a.Method == "" {
		a.Method = "  "
	}
	return &wire.Assurance{Method: a.Method, Data: a.Data}
}

// words turns texts of one type into another's.
func words[To, From ~string](in []From) []To {
	var out []To
	for _, s := range in {
		out = append(out, To(s))
	}
	return out
}
