package detokenize

import (
	"context"
	"fmt"
	"slices"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// Direct gives back a card number without evidence of a tap: for tokens on
// file, and for hosts that verified the purchase themselves. Few callers have
// that right.
//
// The token's controls are judged all the same. To authorise, all of them are,
// with the amount, and when they bound the sum or the count the query has to
// name the purchase, which is counted once. For other purposes what the query
// says of the purchase is judged.
func (s *Service) Direct(ctx context.Context, c access.Caller, q Query, purpose string) (Answer, error) {
	if !slices.Contains(Purposes, purpose) {
		return Answer{}, ErrPurpose
	}
	if err := s.take(ctx, c, access.DetokenizeDirect, q.object(), 1); err != nil {
		return Answer{}, err
	}
	return s.direct(ctx, c, q, purpose)
}

func (s *Service) direct(ctx context.Context, c access.Caller, q Query, purpose string) (Answer, error) {
	const a = access.DetokenizeDirect
	if q.Number.IsZero() == (q.Ref == "") || q.TapID != "" || q.Tap != nil || q.Signed {
		return Answer{}, ErrDirect
	}
	to, err := s.recipient(ctx, c, q)
	if err != nil {
		return Answer{}, err
	}
	t, card, reason, err := s.token(ctx, q)
	if err != nil {
		return Answer{}, err
	}
	object := q.object()
	if reason == "" {
		object = string(t.Ref)
		reason = s.standing(c, t)
	}
	if reason == "" && purpose == Authorisation && !s.cfg.Now().Before(t.NotAfter) {
		reason = "expired"
	}
	if reason == "" {
		reason, err = s.controlled(ctx, t, q.of(c), purpose)
	}
	if err != nil {
		return Answer{}, err
	}
	if reason != "" {
		return Answer{}, s.refuse(ctx, c, a, object, reason)
	}
	return s.Reveal(ctx, c, Verified{token: t, card: card, caller: c.ID, action: a, sealed: to}, purpose)
}

// controlled judges a direct use, and counts it when it authorises a purchase.
func (s *Service) controlled(ctx context.Context, t token.Standing, q Query, purpose string) (reason string, err error) {
	if purpose != Authorisation {
		return stated(t, q.Where), nil
	}
	if q.Purchase == "" {
		if t.Controls.MaxSum != 0 || t.Controls.MaxCount != 0 {
			return "unnamed-purchase", nil
		}
		q.Where.Location = t.Location
		return t.Controls.Judge(q.Where), nil
	}
	reason, err = s.cfg.Evidence.Spend(ctx, t, q.Where, q.Purchase)
	if err != nil {
		return "", fmt.Errorf("counting a purchase: %w", err)
	}
	return reason, nil
}
