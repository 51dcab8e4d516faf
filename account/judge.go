package account

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// verdict is what the record alone says, before other records of its slot.
type verdict struct {
	token   token.Token // zero when nobody held the number
	moment  time.Time
	tacGood bool
	proven  bool   // MAC2 is good
	reason  Reason // empty: evidence
	bounds  *Bounds
	control string // that refused
	unread  error  // why it could not be judged
}

// judge looks at one record. An error says that it could not be judged; the
// record is then neither accepted nor rejected.
func (s *Service) judge(ctx context.Context, t Tap, where token.Use, shown guess.Standing, spare bool) (v verdict, err error) {
	moments, err := t.At.Moments(s.cfg.Zone, s.cfg.Now().Add(s.cfg.Skew))
	if err != nil || !wellFormed(t) {
		return verdict{reason: Malformed}, nil
	}
	v.moment = moments[0]
	if !slices.Contains(s.cfg.Versions(), t.KeyVer) || t.AlgID != s.cfg.AlgorithmID || t.UD.KeyVer != t.KeyVer&0x0F {
		return verdict{reason: UnknownKey}, nil
	}
	err = sparing(spare, func() error {
		v.token, err = s.cfg.Tokens.ByNumber(ctx, t.Number, v.moment)
		return err
	})
	if fault.KindOf(err) == fault.TokenUnknown {
		return verdict{reason: UnknownToken}, nil
	}
	if err != nil {
		return verdict{}, fmt.Errorf("finding the token of a tap: %w", err)
	}
	if shown.Barred[guessed(v.token.Ref)] {
		return verdict{}, errBarred
	}
	mac2, tac, err := s.prove(ctx, t)
	if err != nil {
		return verdict{}, err
	}
	v.proven, v.tacGood = mac2, tac
	switch {
	case !mac2 && tac:
		v.reason = Tamper
	case !mac2:
		v.reason = Forged
	default:
		now, err := s.came(ctx, s.cfg.Now(), moments[len(moments)-1].Add(s.cfg.Late))
		if err != nil {
			return verdict{}, err
		}
		v.moment, v.reason = s.when(t, v.token, moments, now)
	}
	if mac2 {
		v.bind(t, where)
	}
	return v, nil
}

// came is when a record came: now, by this process's clock, unless that is after it
// was due. Then it is the moment that has come by every clock: what is too late is
// refused for good, and nobody is told twice.
func (s *Service) came(ctx context.Context, now, due time.Time) (time.Time, error) {
	if !now.After(due) {
		return now, nil
	}
	sure, err := s.cfg.Sure(ctx)
	if err != nil {
		return now, fmt.Errorf("asking whether a tap came too late: %w", err)
	}
	return sure, nil
}

// when is the moment at which a tap was made, of those that its time may mean, and
// what speaks against it then. Where one of two is fine, that is the one.
func (s *Service) when(t Tap, tok token.Token, moments []time.Time, now time.Time) (at time.Time, why Reason) {
	for _, m := range slices.Backward(moments) {
		if r := s.allowed(t, tok, m, now); at.IsZero() || r == "" || why != "" {
			at, why = m, r
		}
	}
	return at, why
}

// wellFormed reports whether a handset's purchase can have these fields.
func wellFormed(t Tap) bool {
	return !t.Number.IsZero() && t.Seq == t.UD.Ctr && t.Type != cryptogram.CashWithdrawal && t.Purchase().Validate() == nil
}

// allowed reports what speaks, now, against a tap whose MAC2 is good.
func (s *Service) allowed(t Tap, tok token.Token, at, now time.Time) Reason {
	switch {
	case t.Amount > t.UD.Limit():
		return OverCap
	case t.Seq < tok.CtrFirst || t.Seq >= tok.CtrNext:
		return CounterRange
	case at.Before(tok.NotBefore.Add(-s.cfg.Skew)), !at.Before(tok.NotAfter.Add(s.cfg.Skew)),
		!at.Before(t.UD.Expires().Add(s.cfg.Skew)):
		return OutsideWindow
	case (tok.State == token.Suspended || len(tok.Suspenders) > 0) && !at.Before(tok.ChangedAt):
		return TokenSuspended
	case tok.State == token.Deleted && !at.Before(tok.ChangedAt):
		return TokenDeleted
	case now.Sub(at) > s.cfg.Late: // behind the two before it: a wallet's token is excused from each alone
		return Late
	}
	return ""
}
