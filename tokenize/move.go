package tokenize

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// maxTries bounds how often a change starts over because the token changed
// under it.
const maxTries = 8

// Move says what a caller wants done to a token, and in whose name.
type Move struct {
	Ref     token.Ref
	Verb    token.Verb      // Suspend, Resume or Delete
	By      token.Suspender // "": the caller's own, REQUESTOR for an issuer's backend and RISK for an operator
	Reason  string          // for the record: up to 64 printable ASCII characters, of which up to 11 digits
	Attempt access.Attempt
}

// Move suspends, resumes or deletes a token, together with the tokens that follow it by
// renewal, and returns it as it is then. All of them change in one transaction, each
// with a record of its own.
//
// Each suspension is remembered with who asked for it, and resuming takes back that one
// only: the token is ACTIVE again when no suspension is left. Only callers who speak for
// the card's issuer may act as ISSUER or RISK; others get [access.ErrDenied].
//
// Doing what has been done already succeeds. The change is durable on return. After an
// error it may have happened: moving again finds out. An attempt that was made before
// moves nothing, so a suspension that is sent twice does not undo a resumption in
// between.
func (s *Service) Move(ctx context.Context, c access.Caller, m Move) (token.Token, error) {
	m.By = cmp.Or(m.By, ownName(c))
	if err := m.check(); err != nil { // before the gate, because the gate records the reason
		return token.Token{}, err
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenManage, m.Ref.Object(), m.because()); err != nil {
		return token.Token{}, err
	}
	if m.Verb != token.Delete && !speaksFor(c, m.By) {
		return token.Token{}, s.refuse(ctx, c, access.TokenManage, m.Ref, "not-"+string(m.By), access.ErrDenied)
	}
	return s.change(ctx, task{
		caller: c, action: access.TokenManage, attempt: m.Attempt,
		change: token.Change{Ref: m.Ref, Verb: m.Verb, By: m.By}, because: m.because(),
	})
}

func (m Move) check() error {
	if err := checkReason(m.Reason); err != nil {
		return err
	}
	if _, err := token.ParseSuspender(string(m.By)); err != nil {
		return err
	}
	if m.Verb != token.Suspend && m.Verb != token.Resume && m.Verb != token.Delete {
		return fmt.Errorf("%w: callers suspend, resume and delete", token.ErrMalformed)
	}
	return nil
}

// because is what the record says of it, such as "suspend as ISSUER: lost".
func (m Move) because() string {
	text := string(m.Verb)
	if m.Verb != token.Delete {
		text += " as " + string(m.By)
	}
	if m.Reason != "" {
		text += ": " + m.Reason
	}
	return text
}

// ownName is the one in whose name c acts when it says nothing else: operators act for
// the sake of risk.
func ownName(c access.Caller) token.Suspender {
	if c.Role == access.Operator {
		return token.ByRisk
	}
	return token.ByRequestor
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

// task is a change to a token that the gate has let its caller make.
type task struct {
	caller  access.Caller
	action  access.Action
	change  token.Change
	because string // for the record
	attempt access.Attempt
}

// change compares and swaps until it has changed the token as it is, or the token
// refuses. What the attempt did before it does not do again. The tokens that follow
// are compared too, so none is made or moved meanwhile.
func (s *Service) change(ctx context.Context, k task) (token.Token, error) {
	ch := k.change
	if t, done, err := s.cfg.Vault.Moved(ctx, ch.Verb, k.caller.ID, k.attempt); err != nil || done {
		return s.present(t), err
	}
	announced := map[token.Ref]bool{}
	for range maxTries {
		t, err := s.own(ctx, k.caller, k.action, ch.Ref)
		if err != nil {
			return token.Token{}, err
		}
		if err := may(s.present(t), ch); err != nil {
			return token.Token{}, s.refuse(ctx, k.caller, k.action, ch.Ref, "state", err)
		}
		if err := s.prepare(ctx, t, &ch); err != nil {
			return token.Token{}, err
		}
		ch.From, ch.Revision, ch.At = t.State, t.Revision, s.cfg.Now()
		if ch.Then, err = s.following(ctx, t, ch); err != nil {
			return token.Token{}, err
		}
		if err := s.announce(ctx, k, ch.Then, announced); err != nil {
			return token.Token{}, err
		}
		t, err = s.cfg.Vault.Change(ctx, ch, k.caller.ID, k.attempt)
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
