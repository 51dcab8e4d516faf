package tokenize

import (
	"context"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// aheadOnFile is how long before its end a card-on-file token may be renewed.
const aheadOnFile = 30 * 24 * time.Hour

// Renew issues the token that follows another one: for the same card, device
// and controls, good from shortly before the old one ends, so that both are
// good for a while. A token has one living successor: renewing again gives it
// back. The new token is durable on return; after an error it may exist all the
// same, and renewing again tells.
func (s *Service) Renew(ctx context.Context, c access.Caller, ref token.Ref, a access.Attempt) (token.Token, error) {
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenRenew, ref.Object(), string(token.Renew)); err != nil {
		return token.Token{}, err
	}
	if t, done, err := s.cfg.Vault.Renewed(ctx, c.ID, a); err != nil || done {
		return s.present(t), err
	}
	for range maxTries {
		old, err := s.own(ctx, c, access.TokenRenew, ref)
		if err != nil {
			return token.Token{}, err
		}
		// An expired token may be renewed, unless somebody held it back to the end.
		if !s.present(old).May(token.Renew) || len(old.Suspenders) > 0 {
			return token.Token{}, s.refuse(ctx, c, access.TokenRenew, ref, "state", ErrState)
		}
		if next, ok, err := s.successor(ctx, old); err != nil || ok {
			return next, err
		}
		t, err := s.renew(ctx, c, old, a)
		if fault.KindOf(err) != fault.TokenState {
			return t, err
		}
	}
	return token.Token{}, fmt.Errorf("%w: others kept changing it", ErrState)
}

// successor returns the living token that renewed old, if there is one.
func (s *Service) successor(ctx context.Context, old token.Token) (next token.Token, ok bool, err error) {
	if old.RenewedBy == "" {
		return token.Token{}, false, nil
	}
	if next, err = s.cfg.Vault.Token(ctx, old.RenewedBy); err != nil {
		return token.Token{}, false, fmt.Errorf("reading a token: %w", err)
	}
	next = s.present(next)
	return next, next.State != token.Expired && next.State != token.Deleted, nil
}

// renew makes the token that follows old, as old was seen.
func (s *Service) renew(ctx context.Context, c access.Caller, old token.Token, a access.Attempt) (token.Token, error) {
	card, err := s.cfg.Vault.CardExpiry(ctx, old.Ref)
	if err != nil {
		return token.Token{}, fmt.Errorf("reading the card's expiry date: %w", err)
	}
	o, err := s.after(old, card)
	if err != nil {
		return token.Token{}, err
	}
	if o.Ref, err = token.DrawRef(s.cfg.Rand); err != nil {
		return token.Token{}, err
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.TokenRenew, string(o.Ref), "renews "+string(old.Ref)); err != nil {
		return token.Token{}, err
	}
	t, err := s.cfg.Vault.Renew(ctx, o, c.ID, a)
	if err != nil {
		return token.Token{}, fmt.Errorf("renewing a token: %w", err)
	}
	if t.Ref != o.Ref {
		return s.again(ctx, c, access.TokenRenew, t)
	}
	return t, nil
}

// after is the order of the token that follows old.
func (s *Service) after(old token.Token, card token.Expiry) (token.Order, error) {
	now := s.cfg.Now()
	only, from, to, err := next(s.cfg.Calendar, now, s.cfg.Overlap, old)
	if err != nil {
		return token.Order{}, err
	}
	if card.Before(from.In(s.cfg.Calendar.Zone)) {
		return token.Order{}, ErrCardExpired
	}
	o := token.Order{
		Requestor: old.Requestor, PSN: old.PSN, Location: old.Location,
		Expiry: expiry(to.In(s.cfg.Calendar.Zone), card), NotBefore: from, NotAfter: to,
		Assurance: old.Assurance, FormFactor: old.FormFactor, Device: old.Device, Controls: old.Controls,
		Decision: old.Decision, Renews: old.Ref, Revision: old.Revision,
	}
	if s.cfg.Policies[old.Requestor].Duplicates == SameToken {
		o.Only = only
	}
	return o, nil
}

// next returns the window of the token that follows old: the next service day
// for one that ended with its day, as long a life again for the others. It
// begins before old ends, by the overlap; when old has ended, at now. only is
// the service day, if it is one.
func next(cal token.Calendar, now time.Time, overlap time.Duration, old token.Token) (only string, from, to time.Time, err error) {
	begin := old.NotAfter
	if begin.Before(now) {
		begin = now
	}
	// With less than the shortest life left of a day, the next one counts as
	// today: tokens that are issued then live until its end.
	_, reach := cal.Window(cal.Next(cal.DayOf(now.Add(shortest))))
	if from = old.NotAfter.Add(-overlap); from.Before(now) {
		from = now.Truncate(time.Second)
	}
	if endsWithDay(cal, old) {
		if !begin.Before(reach) {
			return "", from, to, ErrDay
		}
		day := cal.DayOf(begin)
		only = day.String()
		if _, to = cal.Window(day); to.Sub(begin) < shortest {
			_, to = cal.Window(cal.Next(day))
		}
		return only, from, to, nil
	}
	if old.FormFactor == token.FormCardOnFile {
		reach = now.Add(aheadOnFile)
	}
	if begin.After(reach) {
		return "", from, to, ErrDay
	}
	return "", from, from.Add(old.NotAfter.Sub(old.NotBefore)), nil
}

// endsWithDay reports whether t was issued for service days: it ends at a
// cut-over, and at the first or second after its beginning.
func endsWithDay(cal token.Calendar, t token.Token) bool {
	day := cal.DayOf(t.NotBefore)
	_, first := cal.Window(day)
	_, second := cal.Window(cal.Next(day))
	return t.NotAfter.Equal(first) || t.NotAfter.Equal(second)
}
