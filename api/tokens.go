package api

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize"
)

func (s *server) requestToken(ctx context.Context, q *request) (any, error) {
	var in wire.TokenRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	r, err := s.tokenRequest(ctx, q, &in)
	if err != nil {
		return nil, err
	}
	r.Attempt = q.attempt
	t, err := s.Tokens.Request(ctx, q.caller, r)
	if err != nil {
		return nil, err
	}
	return withStatus{201, tokenOut(t)}, nil
}

// tokenRequest reads a request. Here, and where a card is replaced or asked
// about, card numbers come in.
func (s *server) tokenRequest(ctx context.Context, q *request, in *wire.TokenRequest) (r tokenize.Request, err error) {
	if r, err = plainRequest(in); err != nil {
		return r, err
	}
	if in.PANSealed != "" {
		card, err := s.openCard(ctx, q, access.TokenRequest, "pan_jwe", in.PANSealed)
		if err != nil {
			return r, err
		}
		r.PAN, r.PANExpiry = card.PAN, card.Expiry
		return r, nil
	}
	if r.PAN, err = token.ParsePAN(in.PAN.Reveal()); err != nil {
		return r, at("pan", err)
	}
	if r.PANExpiry, err = token.ParseExpiry(in.PANExpiry); err != nil {
		return r, at("pan_expiry", err)
	}
	return r, nil
}

// plainRequest reads all of a request but the card.
func plainRequest(in *wire.TokenRequest) (r tokenize.Request, err error) {
	r = tokenize.Request{PSN: in.PSN, FormFactor: token.FormFactor(in.FormFactor), Device: in.Device,
		Lifetime: time.Duration(in.Lifetime) * time.Second}
	if r.Location, err = token.ParseLocation(in.Location); err != nil {
		return r, at("token_location", err)
	}
	if in.Requestor != "" {
		if r.Requestor, err = token.ParseRequestor(in.Requestor); err != nil {
			return r, at("token_requestor_id", err)
		}
	}
	if in.Day != "" {
		d, err := token.ParseDay(in.Day)
		if err != nil {
			return r, at("service_day", err)
		}
		r.Day = &d
	}
	if in.Assurance != nil {
		if r.Assurance, err = assuranceIn(in.Assurance); err != nil {
			return r, err
		}
	}
	if in.Controls != nil {
		r.Controls, err = controlsIn(in.Controls)
	}
	return r, err
}

// isMalformed reports whether a service found fault with what it was given.
func isMalformed(err error) bool { return err != nil && fault.KindOf(err) == fault.Malformed }

// at gives an error of the vocabulary the name of the field it is about. Those
// errors say what a field must be and never repeat it.
func at(path string, err error) error {
	return &wire.FieldError{Path: path, Text: err.Error()}
}

func (s *server) token(ctx context.Context, q *request) (any, error) {
	ref, err := tokenRef(q)
	if err != nil {
		return nil, err
	}
	return answerToken(s.Tokens.Token(ctx, q.caller, ref))
}

func (s *server) suspend(ctx context.Context, q *request) (any, error) {
	return s.move(ctx, q, token.Suspend)
}

func (s *server) resume(ctx context.Context, q *request) (any, error) {
	return s.move(ctx, q, token.Resume)
}

func (s *server) delete(ctx context.Context, q *request) (any, error) {
	return s.move(ctx, q, token.Delete)
}

func (s *server) move(ctx context.Context, q *request, v token.Verb) (any, error) {
	ref, err := tokenRef(q)
	if err != nil {
		return nil, err
	}
	var in wire.Move
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	if in.By != "" && v == token.Delete {
		return nil, &wire.FieldError{Path: "suspender", Text: "belongs to suspend and resume"}
	}
	return answerToken(s.Tokens.Move(ctx, q.caller, tokenize.Move{
		Ref: ref, Verb: v, By: token.Suspender(in.By), Reason: in.Reason, Attempt: q.attempt,
	}))
}

func (s *server) bundle(ctx context.Context, q *request) (any, error) {
	ref, err := tokenRef(q)
	if err != nil {
		return nil, err
	}
	var in wire.BundleRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	key, err := json.Marshal(in.DeviceKey)
	if err != nil {
		return nil, fmt.Errorf("printing device key: %w", err)
	}
	b, err := s.Wallet.Bundle(ctx, q.caller, ref, key, q.attempt)
	if err != nil {
		return nil, err
	}
	return withStatus{201, wire.Bundle{ID: b.ID, JWE: b.JWE, Slots: b.Slots, NotAfter: b.NotAfter.UTC()}}, nil
}

func (s *server) ack(ctx context.Context, q *request) (any, error) {
	ref, err := tokenRef(q)
	if err != nil {
		return nil, err
	}
	var in wire.Ack
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return answerToken(s.Wallet.Ack(ctx, q.caller, ref, in.BundleID, in.MAC[:]))
}

// errRef is what any reference that cannot exist is: not found.
var errRef = fault.New(fault.TokenUnknown, "no such token")

func tokenRef(q *request) (token.Ref, error) {
	ref := q.param("ref")
	if !wire.IsName(ref) {
		return "", errRef
	}
	return token.Ref(ref), nil
}

func answerToken(t token.Token, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return tokenOut(t), nil
}

func tokenOut(t token.Token) wire.Token {
	out := wire.Token{
		Ref: string(t.Ref), Number: t.Number.Digits(), Expiry: string(t.Expiry), Requestor: string(t.Requestor),
		PAR: string(t.PAR), PANLast4: t.PANLast4, Location: string(t.Location), State: string(t.State),
		NotBefore: t.NotBefore.UTC(), NotAfter: t.NotAfter.UTC(),
		CreatedAt: t.CreatedAt.UTC(), ChangedAt: t.ChangedAt.UTC(),
		PSN: t.PSN, FormFactor: string(t.FormFactor), Device: t.Device,
		Assurance: assuranceOut(t.Assurance), Controls: controlsOut(t.Controls),
		Suspenders: words[string](t.Suspenders), Decision: string(t.Decision),
		Renews: string(t.Renews), RenewedBy: string(t.RenewedBy),
	}
	if p := t.Provisioned; p != nil {
		out.Provisioned = &wire.Provisioned{Result: string(p.Result), Reason: p.Reason, At: p.At.UTC()}
	}
	return out
}
