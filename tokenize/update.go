package tokenize

import (
	"context"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// Update changes attributes of a token and returns it as it then is: assurance,
// controls, the end of its window. A new end lies ahead and makes no life longer
// than a request could ask for, counted from now for a card on file; the Token
// Expiry Date moves with it. Setting what is set already succeeds. The change is
// durable on return, and an attempt makes it once.
func (s *Service) Update(ctx context.Context, c access.Caller, ref token.Ref, set token.Attributes, a access.Attempt) (token.Token, error) {
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenManage, ref.Object(), string(token.Update)); err != nil {
		return token.Token{}, err
	}
	if set.Assurance == nil && set.Controls == nil && set.NotAfter == nil {
		return token.Token{}, fmt.Errorf("%w: nothing to change", token.ErrMalformed)
	}
	if set.Assurance != nil {
		if err := set.Assurance.Check(); err != nil {
			return token.Token{}, err
		}
	}
	if set.Controls != nil {
		if err := set.Controls.Validate(); err != nil {
			return token.Token{}, err
		}
	}
	return s.change(ctx, task{c, access.TokenManage, token.Change{Ref: ref, Verb: token.Update, Set: set}, string(token.Update), a})
}

// prepare fills in what follows from the token as it is: the expiry date that
// goes with a new end.
func (s *Service) prepare(ctx context.Context, t token.Token, ch *token.Change) error {
	if ch.Set.NotAfter == nil {
		return nil
	}
	to, now := ch.Set.NotAfter.Truncate(time.Second), s.cfg.Now()
	begin := t.NotBefore
	if t.FormFactor == token.FormCardOnFile {
		begin = now
	}
	if !to.After(now) || to.Sub(t.NotBefore) < shortest || to.Sub(begin) > s.lifetime(t.FormFactor) {
		return ErrLifetime
	}
	card, err := s.cfg.Vault.CardExpiry(ctx, t.Ref)
	if err != nil {
		return fmt.Errorf("reading the card's expiry date: %w", err)
	}
	ch.Set.NotAfter, ch.Expiry = &to, expiry(to.In(s.cfg.Calendar.Zone), card)
	return nil
}

// Decide writes down what the card's issuer says of a token that is REQUESTED:
// APPROVED lets it be handed out, STEP_UP asks the cardholder first, DECLINED
// deletes it and those that follow it. The first two are said of those that follow,
// too, as far as they may still be decided of. The decision is durable on return, and an
// attempt makes it once.
func (s *Service) Decide(ctx context.Context, c access.Caller, ref token.Ref, d token.Decision, a access.Attempt) (token.Token, error) {
	v, ok := d.Verb()
	if !ok {
		return token.Token{}, fmt.Errorf("%w: an issuer decides APPROVED, STEP_UP or DECLINED", token.ErrMalformed)
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenDecide, ref.Object(), string(v)); err != nil {
		return token.Token{}, err
	}
	return s.change(ctx, task{c, access.TokenDecide, token.Change{Ref: ref, Verb: v}, string(v), a})
}

// Notify takes the requestor's word on how provisioning went. Success makes a
// token ACTIVE that was not; failure leaves it as it is, for another try. The
// notice is durable on return, and an attempt gives it once.
func (s *Service) Notify(ctx context.Context, c access.Caller, ref token.Ref, n token.Notice, a access.Attempt) (token.Token, error) {
	if err := n.Check(); err != nil {
		return token.Token{}, err
	}
	v := token.Provision
	if n.Result == token.Failure {
		v = token.Fail
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenNotify, ref.Object(), string(v)); err != nil {
		return token.Token{}, err
	}
	return s.change(ctx, task{c, access.TokenNotify, token.Change{Ref: ref, Verb: v, Notice: n}, string(v), a})
}
