package account

import (
	"context"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
)

// ErrAhead reports a terminal that says it has uploaded what is yet to come.
var ErrAhead = fault.New(fault.Malformed, "a terminal cannot have uploaded taps of the future")

// Marks keeps how far terminals have uploaded.
type Marks interface {
	// Mark keeps that a terminal has uploaded all its taps before until, and
	// returns how far it is: an earlier word that reached further stands. Durable.
	Mark(ctx context.Context, terminal [6]byte, until, at time.Time) (time.Time, error)
}

// Progress takes a terminal's word that every tap it took before until was
// uploaded. When every terminal of the estate has said so of the end of a
// token, the reserve of its unused slots is free. Of a terminal that is registered
// for somebody else nobody's word counts: the money behind records that it still
// holds would be gone when they come.
func (s *Service) Progress(ctx context.Context, c access.Caller, name string, terminal [6]byte, until time.Time) (time.Time, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.TapUpload, name); err != nil {
		return time.Time{}, err
	}
	if c.Terminal != "" && c.Terminal != name {
		return time.Time{}, s.cfg.Gate.Refuse(ctx, c, access.TapUpload, name, "terminal", access.ErrDenied)
	}
	if owner, registered := s.cfg.Owners[terminal]; registered && owner != name {
		return time.Time{}, s.cfg.Gate.Refuse(ctx, c, access.TapUpload, name, string(OtherOperator), access.ErrDenied)
	}
	now := s.cfg.Now()
	if until.After(now.Add(s.cfg.Skew)) {
		return time.Time{}, ErrAhead
	}
	if s.cfg.Book == nil {
		return until, nil
	}
	far, err := s.cfg.Book.Mark(ctx, terminal, until, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("keeping how far a terminal has uploaded: %w", err)
	}
	return far, nil
}
