package tokenize

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// maxTries bounds how often a change starts over because the token changed
// under it.
const maxTries = 8

// Move is [Service.MoveAs] in the caller's own name: issuers' backends act for
// the requestor, operators for the sake of risk.
func (s *Service) Move(ctx context.Context, c access.Caller, ref token.Ref, v token.Verb, reason string, a access.Attempt) (token.Token, error) {
	by := token.ByRequestor
	if c.Role == access.Operator {
		by = token.ByRisk
	}
	return s.MoveAs(ctx, c, by, ref, v, reason, a)
}

// MoveAs suspends, resumes or deletes a token in the name of by, together with the
// tokens that follow it by renewal, and returns it as it is then. All of them change in
// one transaction, each with a record of its own.
//
// Each suspension is remembered with who asked for it, and resuming takes back that one
// only: the token is ACTIVE again when no suspension is left. Only callers who speak for
// the card's issuer may act as ISSUER or RISK; others get [access.ErrDenied].
//
// The reason, up to 64 printable ASCII characters of which up to 11 are digits, goes
// into the record. Doing what has been done already succeeds. The change is durable on
// return. After an error it may have happened: moving again finds out. An attempt that
// was made before moves nothing, so a suspension that is sent twice does not undo a
// resumption in between.
func (s *Service) MoveAs(ctx context.Context, c access.Caller, by token.Suspender, ref token.Ref, v token.Verb, reason string, a access.Attempt) (token.Token, error) {
	// Before the gate, because the gate records it.
	if err := checkReason(reason); err != nil {
		return token.Token{}, err
	}
	because := string(v)
	if v != token.Delete {
		because += " as " + string(by)
	}
	if reason != "" {
		because += ": " + reason
	}
	if _, err := token.ParseSuspender(string(by)); err != nil {
		return token.Token{}, err
	}
	if v != token.Suspend && v != token.Resume && v != token.Delete {
		return token.Token{}, fmt.Errorf("%w: callers suspend, resume and delete", token.ErrMalformed)
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenManage, ref.Object(), because); err != nil {
		return token.Token{}, err
	}
	if v != token.Delete && !speaksFor(c, by) {
		return token.Token{}, s.refuse(ctx, c, access.TokenManage, ref, "not-"+string(by), access.ErrDenied)
	}
	return s.change(ctx, c, access.TokenManage, token.Change{Ref: ref, Verb: v, By: by}, because, a)
}

// speaksFor reports whether c may act in the name of by.
func speaksFor(c access.Caller, by token.Suspender) bool {
	switch by {
	case token.ByRequestor:
		return c.Role == access.Issuer
	case token.ByIssuer, token.ByRisk:
		return access.Allow(c, access.TokenDecide) == nil
	}
	return true // the cardholder and the PIN lock speak through whoever serves them
}

// change compares and swaps until it has done ch to the token as it is, or the
// token refuses. What the attempt did before it does not do again. The tokens
// that follow are compared too, so none is made or moved meanwhile.
func (s *Service) change(ctx context.Context, c access.Caller, action access.Action, ch token.Change, because string, a access.Attempt) (token.Token, error) {
	if t, done, err := s.cfg.Vault.Moved(ctx, ch.Verb, c.ID, a); err != nil || done {
		return s.present(t), err
	}
	announced := map[token.Ref]bool{}
	for range maxTries {
		t, err := s.own(ctx, c, action, ch.Ref)
		if err != nil {
			return token.Token{}, err
		}
		if err := may(s.present(t), ch); err != nil {
			return token.Token{}, s.refuse(ctx, c, action, ch.Ref, "state", err)
		}
		if err := s.prepare(ctx, t, &ch); err != nil {
			return token.Token{}, err
		}
		ch.From, ch.Revision, ch.At = t.State, t.Revision, s.cfg.Now()
		if ch.Then, err = s.following(ctx, t, ch); err != nil {
			return token.Token{}, err
		}
		if err := s.announce(ctx, c, action, ch, because, announced); err != nil {
			return token.Token{}, err
		}
		t, err = s.cfg.Vault.Change(ctx, ch, c.ID, a)
		if err == nil {
			return s.present(t), nil
		}
		if fault.KindOf(err) != fault.TokenState {
			return token.Token{}, fmt.Errorf("changing a token: %w", err)
		}
	}
	return token.Token{}, fmt.Errorf("%w: others kept changing it", ErrState)
}

// may says why a token refuses a change, or nil.
func may(t token.Token, ch token.Change) error {
	switch {
	case t.May(ch.Verb) && (ch.Verb != token.Resume || t.Holds(ch.By)):
		return nil
	case t.State == token.Expired:
		return ErrExpired
	}
	return ErrState
}

// checkReason keeps what could be a card number, or break a line of the
// record, out of it.
func checkReason(reason string) error {
	digits := 0
	for i := range len(reason) {
		switch b := reason[i]; {
		case b < ' ' || b > '~':
			return fmt.Errorf("%w: a reason holds printable ASCII characters", token.ErrMalformed)
		case b >= '0' && b <= '9':
			digits++
		}
	}
	if len(reason) > 64 || digits > 11 {
		return fmt.Errorf("%w: a reason has up to 64 characters, of which up to 11 digits", token.ErrMalformed)
	}
	return nil
}
