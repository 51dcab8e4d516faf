package detokenize

import (
	"context"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/gather"
)

// Item is the answer to one query of a batch, or why there is none.
type Item struct {
	Answer Answer
	Err    error
}

// Batch answers up to [MaxBatch] queries as [Service.Detokenize] does, each by
// itself and in order. An error is one of the whole batch: then nothing was
// opened.
func (s *Service) Batch(ctx context.Context, c access.Caller, qs []Query, purpose string) ([]Item, error) {
	return s.batch(ctx, c, access.Detokenize, qs, purpose, s.detokenize)
}

// DirectBatch answers up to [MaxBatch] queries as [Service.Direct] does.
func (s *Service) DirectBatch(ctx context.Context, c access.Caller, qs []Query, purpose string) ([]Item, error) {
	return s.batch(ctx, c, access.DetokenizeDirect, qs, purpose, s.direct)
}

// inBatch stands for the token in records about a whole batch.
const inBatch = "batch"

// lanes is how many queries of a batch are answered at a time: each waits for
// records to be durable, and those that wait together share a write.
const lanes = 16

func (s *Service) batch(ctx context.Context, c access.Caller, a access.Action, qs []Query, purpose string,
	one func(context.Context, access.Caller, Query, string) (Answer, error)) ([]Item, error) {
	if err := whole(len(qs), purpose); err != nil {
		return nil, err
	}
	if err := s.take(ctx, c, a, inBatch, len(qs)); err != nil {
		return nil, err
	}
	items := make([]Item, len(qs))
	gather.Spread(len(qs), lanes, func(i int) { items[i].Answer, items[i].Err = one(ctx, c, qs[i], purpose) })
	return items, nil
}

// whole judges a batch without its queries.
func whole(n int, purpose string) error {
	switch {
	case !slices.Contains(Purposes, purpose):
		return ErrPurpose
	case n == 0 || n > MaxBatch:
		return ErrBatch
	}
	return nil
}

// BatchFits says why a batch of n queries would be refused as a whole if it came now. It
// takes nothing from what the caller may have.
func (s *Service) BatchFits(ctx context.Context, c access.Caller, a access.Action, n int, purpose string) error {
	if err := whole(n, purpose); err != nil {
		return err
	}
	return s.bounded(ctx, c, a, inBatch, n, Limiter.Would)
}

// take lets the caller in and takes n card numbers from what it may have.
func (s *Service) take(ctx context.Context, c access.Caller, a access.Action, object string, n int) error {
	return s.bounded(ctx, c, a, object, n, Limiter.Take)
}

func (s *Service) bounded(ctx context.Context, c access.Caller, a access.Action, object string, n int,
	ask func(l Limiter, ctx context.Context, caller string, n int) (time.Duration, error)) error {
	if err := s.cfg.Gate.Allow(ctx, c, a, object); err != nil || s.cfg.Limiter == nil {
		return err
	}
	wait, err := ask(s.cfg.Limiter, ctx, c.ID, n)
	if err == nil && wait < 0 {
		return s.cfg.Gate.Refuse(ctx, c, a, object, "velocity", ErrBurst)
	}
	if err == nil && wait > 0 {
		return s.cfg.Gate.Refuse(ctx, c, a, object, "velocity", fault.After(ErrFast, wait))
	}
	return err
}
