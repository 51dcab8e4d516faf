package account

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// Upload judges the records of one terminal, or of a group of them, and
// returns one result for each, in order. All decisions are durable when it
// returns. An error means that the batch was not decided, because something
// this service needs is down; sending it again is always right, and records
// that were kept after all are then duplicates. [guess.ErrMisses] is one as well:
// the caller showed too many records that no phone made, and until the day ends
// its batches are refused whole, those with a token that it guessed at or all.
//
// A record is [Deferred] when something that is stored for it, and not for the others,
// cannot be read. Nothing of it is kept: sent again when that was put right, it is judged
// as if it came for the first time.
func (s *Service) Upload(ctx context.Context, c access.Caller, terminal string, taps []Tap) ([]Result, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.TapUpload, terminal); err != nil {
		return nil, err
	}
	if c.Terminal != "" && c.Terminal != terminal {
		return nil, s.cfg.Gate.Refuse(ctx, c, access.TapUpload, terminal, "terminal", access.ErrDenied)
	}
	if len(taps) == 0 || len(taps) > MaxBatch {
		return nil, ErrBatch
	}
	b := batch{Service: s, reporter: terminal, source: Tap.source, results: make([]Result, len(taps)), spare: true}
	defer func() { b.tell(ctx) }()
	verdicts, leave, err := s.judgeShown(ctx, c, taps, s.place(terminal), b.spare)
	if err := s.refused(ctx, c, terminal, err); err != nil {
		return nil, err
	}
	defer leave()
	for i, v := range verdicts {
		err := v.unread
		if err == nil {
			err = b.take(ctx, i, taps[i], v)
		}
		if err != nil && !b.defers(i, err) {
			return nil, err
		}
	}
	if err := b.classify(ctx); err != nil {
		return nil, err
	}
	if err := b.report(ctx, c); err != nil {
		return nil, err
	}
	if err := s.refused(ctx, c, terminal, b.post(ctx, c)); err != nil {
		return nil, err
	}
	s.conclude(ctx)
	if err := b.report(ctx, c); err != nil { // what only the totals could refuse
		return nil, err
	}
	return b.results, nil
}

// refused records that a caller showed too much that did not hold.
func (s *Service) refused(ctx context.Context, c access.Caller, terminal string, err error) error {
	if errors.Is(err, guess.ErrMisses) {
		return s.cfg.Gate.Refuse(ctx, c, access.TapUpload, terminal, "misses", err)
	}
	return err
}

// Judge judges and keeps one record as [Service.Upload] does, and returns its
// token, which is zero when nobody held the number. Where says what the caller
// knows of the purchase. It is for services that have passed a gate of their
// own, and record what it refuses.
func (s *Service) Judge(ctx context.Context, c access.Caller, t Tap, where token.Use) (Result, token.Token, error) {
	b := batch{Service: s, reporter: "detokenize", source: func(Tap) Sources { return BySystem }, results: make([]Result, 1)}
	verdicts, leave, err := s.judgeShown(ctx, c, []Tap{t}, where, false)
	if err != nil {
		return Result{}, token.Token{}, err
	}
	defer leave()
	v := verdicts[0]
	if err := b.take(ctx, 0, t, v); err != nil {
		return Result{}, token.Token{}, err
	}
	if err := b.classify(ctx); err != nil {
		return Result{}, token.Token{}, err
	}
	if err := b.post(ctx, c); err != nil {
		return Result{}, token.Token{}, err
	}
	s.conclude(ctx)
	return b.results[0], v.token, nil
}

// Accepted returns a tap that is posted under ref and good in every respect,
// or [ErrNoTap]. Its Number is zero. It is for services that have passed a
// gate of their own.
func (s *Service) Accepted(ctx context.Context, ref token.Ref, tapID string) (Tap, error) {
	e, err := s.cfg.Journal.Entry(ctx, ref, tapID)
	if err != nil {
		return Tap{}, fmt.Errorf("finding a tap: %w", err)
	}
	if !e.Result().Good() {
		return Tap{}, ErrNoTap
	}
	return e.Tap, nil
}
