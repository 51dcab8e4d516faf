package detokenize

import (
	"context"
	"slices"

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
	if !slices.Contains(Purposes, purpose) {
		return nil, ErrPurpose
	}
	if len(qs) == 0 || len(qs) > MaxBatch {
		return nil, ErrBatch
	}
	if err := s.take(ctx, c, a, inBatch, len(qs)); err != nil {
		return nil, err
	}
	items := make([]Item, len(qs))
	gather.Spread(len(qs), lanes, func(i int) { items[i].Answer, items[i].Err = one(ctx, c, qs[i], purpose) })
	return items, nil
}

// take lets the caller in and takes n card numbers from what it may have.
func (s *Service) take(ctx context.Context, c access.Caller, a access.Action, object string, n int) error {
	if err := s.cfg.Gate.Allow(ctx, c, a, object); err != nil || s.cfg.Limiter == nil {
		return err
	}
	wait, err := s.cfg.Limiter.Take(ctx, c.ID, n)
	if err == nil && wait < 0 {
		return s.cfg.Gate.Refuse(ctx, c, a, object, "velocity", ErrBurst)
	}
	if err == nil && wait > 0 {
		return s.cfg.Gate.Refuse(ctx, c, a, object, "velocity", fault.After(ErrFast, wait))
	}
	return err
}
