package tokenize

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/token"
)

// goesOn says what is done to the tokens that follow one by renewal, when a
// verb is done to it. Other verbs are of one token.
var goesOn = map[token.Verb]token.Verb{
	token.Suspend: token.Suspend, token.Resume: token.Resume, token.Delete: token.Delete, token.Decline: token.Delete,
	token.StepUp: token.StepUp, token.Approve: token.Approve,
}

// following lists what ch comes to for the tokens that follow t, nearest first.
// To delete one that has ended is to tidy up: those after it stay.
func (s *Service) following(ctx context.Context, t token.Token, ch token.Change) (then []token.Change, err error) {
	v, ok := goesOn[ch.Verb]
	if !ok || s.present(t).State == token.Expired {
		return nil, nil
	}
	for t.RenewedBy != "" {
		if t, err = s.cfg.Vault.Token(ctx, t.RenewedBy); err != nil {
			return nil, fmt.Errorf("reading a token that follows: %w", err)
		}
		c := token.Change{Ref: t.Ref, From: t.State, Revision: t.Revision, Verb: v, By: ch.By, At: ch.At}
		if t.State != token.Deleted && !(v == token.Suspend && t.Holds(c.By)) && may(s.present(t), c) == nil {
			then = append(then, c)
		}
	}
	return then, nil
}

// announce records each token that the task moves beside the one that was asked
// about, once however often the change is tried.
func (s *Service) announce(ctx context.Context, k task, then []token.Change, done map[token.Ref]bool) error {
	for _, next := range then {
		if done[next.Ref] {
			continue
		}
		because := "following " + string(k.change.Ref) + ": " + k.because
		if err := s.cfg.Gate.CheckBecause(ctx, k.caller, k.action, string(next.Ref), because); err != nil {
			return err
		}
		done[next.Ref] = true
	}
	return nil
}
