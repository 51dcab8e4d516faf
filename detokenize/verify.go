package detokenize

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// byNumber stands for the token in records of queries that name it by number,
// until its reference is known.
const byNumber = "by-number"

// Verify checks, in this order, that the caller may ask, that the token exists and is
// the caller's, that its state and window allow it, and that it made the tap, which its
// controls allow. It opens no card number. A whole tap is judged and kept. What does
// not hold is [ErrRefused]; any other error means that it could not be judged.
func (s *Service) Verify(ctx context.Context, c access.Caller, q Query) (Verified, error) {
	if err := s.gate(ctx, c, q); err != nil {
		return Verified{}, err
	}
	if err := q.check(); err != nil {
		return Verified{}, err
	}
	if q.Signed && s.cfg.Signer == nil {
		return Verified{}, ErrUnsigned
	}
	to, err := s.recipient(ctx, c, q)
	if err != nil {
		return Verified{}, err
	}
	t, card, reason, err := s.token(ctx, q)
	if err != nil {
		return Verified{}, err
	}
	object := q.object()
	if reason == "" {
		object = string(t.Ref)
		reason = s.standing(c, t)
	}
	v := Verified{token: t, card: card, caller: c.ID, action: access.Detokenize, sealed: to, signed: q.Signed}
	if reason == "" {
		reason, err = s.evidence(ctx, c, &v, q.of(c))
	}
	if err != nil {
		return Verified{}, err
	}
	if reason != "" {
		return Verified{}, s.refuse(ctx, c, access.Detokenize, object, reason)
	}
	return v, nil
}

// of fills in what c did not have to say: who presents the token.
func (q Query) of(c access.Caller) Query {
	if q.Where.Requestor == "" {
		q.Where.Requestor = token.Requestor(c.Requestor)
	}
	return q
}

// gate lets the caller in. A whole tap is recorded before it is judged, because
// judging it may post it; a look at an accepted one changes nothing, and
// [Service.Reveal] records what follows.
func (s *Service) gate(ctx context.Context, c access.Caller, q Query) error {
	if q.Tap != nil {
		return s.cfg.Gate.CheckBecause(ctx, c, access.Detokenize, q.object(), "judge-tap")
	}
	return s.cfg.Gate.Allow(ctx, c, access.Detokenize, q.object())
}

// object names what was asked for in the record.
func (q Query) object() string {
	if q.Ref == "" {
		return byNumber
	}
	return q.Ref.Object()
}

// token finds the token that q names, and its card; reason says why there is
// none.
func (s *Service) token(ctx context.Context, q Query) (t token.Standing, card token.Sealed, reason string, err error) {
	at := s.cfg.Now()
	if q.Tap != nil {
		if at, err = q.Tap.At.In(s.cfg.Zone); err != nil {
			return token.Standing{}, nil, "malformed-tap", nil
		}
	}
	if q.Ref != "" {
		t, card, err = s.cfg.Opener.Sealed(ctx, q.Ref)
	} else {
		t, card, err = s.cfg.Opener.SealedByNumber(ctx, q.Number, at)
	}
	if fault.KindOf(err) == fault.TokenUnknown {
		return token.Standing{}, nil, "unknown", nil
	}
	if err != nil {
		return token.Standing{}, nil, "", fmt.Errorf("reading a token: %w", err)
	}
	return t, card, "", nil
}

// standing says why t is not one that c gets a card number for, or "".
func (s *Service) standing(c access.Caller, t token.Standing) string {
	now := s.cfg.Now()
	switch {
	case c.Requestor != string(t.Requestor):
		return "other-requestor"
	case t.State == token.Suspended, len(t.Suspenders) > 0:
		return "suspended"
	case t.State == token.Deleted:
		return "deleted"
	case !t.Decision.Allows():
		return "undecided"
	case now.Before(t.NotBefore):
		return "future"
	case now.After(t.NotAfter.Add(s.cfg.Late)):
		return "expired"
	}
	return ""
}

// evidence says which tap proves that the token of v was used, or why none
// does.
func (s *Service) evidence(ctx context.Context, c access.Caller, v *Verified, q Query) (reason string, err error) {
	if q.Tap != nil {
		v.tap = *q.Tap
		return s.judge(ctx, c, v, q.Where)
	}
	tap, err := s.cfg.Evidence.Accepted(ctx, v.token.Ref, q.TapID)
	if fault.KindOf(err) == fault.Refused {
		return "no-tap", nil
	}
	if err != nil {
		return "", fmt.Errorf("finding a tap: %w", err)
	}
	v.tap, v.tapID = tap, q.TapID
	if v.tapAt, reason = s.inWindow(v.token, tap); reason != "" {
		return reason, nil
	}
	return stated(v.token, q.Where), nil
}

// stated judges what a caller says of a purchase that was judged and counted
// before. What it does not say was judged then, and so were the amounts.
func stated(t token.Standing, u token.Use) (reason string) {
	c := t.Controls
	c.MaxAmount, c.MaxSum, c.MaxCount = 0, 0, 0
	if u.Merchant == "" {
		c.Merchants = nil
	}
	if u.Terminal == "" {
		c.TerminalGroups = nil
	}
	if u.MCC == "" {
		c.MCC = nil
	}
	if u.Channel == "" {
		c.Channels = nil
	}
	if u.Country == "" {
		c.Countries = nil
	}
	u.Location = t.Location
	return c.Judge(u)
}

// judge has a whole tap judged, that of v. It must be the token's own before it is kept
// under anyone's name.
func (s *Service) judge(ctx context.Context, c access.Caller, v *Verified, where token.Use) (reason string, err error) {
	t := v.token
	if v.tap.Number.Digits() != t.Number.Digits() {
		return "other-token", nil
	}
	if v.tapAt, reason = s.inWindow(t, v.tap); reason != "" {
		return reason, nil
	}
	result, by, err := s.cfg.Evidence.Judge(ctx, c, v.tap, where)
	if fault.KindOf(err) == fault.Refused {
		return "bad-tap", nil
	}
	if fault.KindOf(err) == fault.TooFast {
		return "", s.cfg.Gate.Refuse(ctx, c, access.Detokenize, string(t.Ref), "misses", err)
	}
	if err != nil {
		return "", fmt.Errorf("judging a tap: %w", err)
	}
	switch {
	case result.Control != "":
		return result.Control, nil
	case !result.Good():
		return "tap-" + strings.ToLower(string(result.Outcome)+"-"+string(result.Reason)), nil
	case by.Ref != t.Ref:
		return "other-token", nil
	}
	v.tapID = result.TapID
	return stated(t, where), nil
}

// inWindow is when a tap was made, of the moments that its time may mean, and says that
// t could not be used then, or "".
func (s *Service) inWindow(t token.Standing, tap account.Tap) (at time.Time, reason string) {
	now := s.cfg.Now().Add(s.cfg.Skew)
	moments, err := tap.At.Moments(s.cfg.Zone, now)
	if err != nil {
		return at, "malformed-tap"
	}
	for _, m := range moments {
		if !m.Before(t.NotBefore.Add(-s.cfg.Skew)) && m.Before(t.NotAfter.Add(s.cfg.Skew)) && !m.After(now) {
			return m, ""
		}
	}
	return at, "outside-window"
}
