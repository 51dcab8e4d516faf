package tokenize

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/gather"
	"github.com/tapvault/tapvault/token"
)

// MaxBatch bounds the requests of one batch.
const MaxBatch = 500

// Result is what became of one request of a batch: a token, or why not.
type Result struct {
	Token token.Token
	Err   error
}

// batchWorkers is how many requests of a batch are under way at once. Each
// commits by itself; the database gathers those that wait into one commit.
const batchWorkers = 32

// RequestBatch issues a token for each request and returns a result for each,
// in their order: one that fails spoils no other. Every request counts as an
// attempt of its own, named by the batch's and its place in it; the attempts in
// rs are not looked at. So asking again with the same attempt gives the tokens
// that were made, and tries the others again. An error means that nothing was
// done at all.
func (s *Service) RequestBatch(ctx context.Context, c access.Caller, rs []Request, a access.Attempt) ([]Result, error) {
	if len(rs) == 0 || len(rs) > MaxBatch {
		return nil, fmt.Errorf("%w: a batch has 1 to %d requests", token.ErrMalformed, MaxBatch)
	}
	if err := s.cfg.Gate.Allow(ctx, c, access.TokenRequest, "batch"); err != nil {
		return nil, err
	}
	out := make([]Result, len(rs))
	gather.Spread(len(rs), batchWorkers, func(i int) {
		r := rs[i]
		r.Attempt = nth(a, i)
		out[i].Token, out[i].Err = s.Request(ctx, c, r)
	})
	return out, nil
}

// nth names the attempt at one request of a batch. The character before the
// place is none that a caller's key can hold.
func nth(a access.Attempt, i int) access.Attempt {
	if a.Key != "" {
		a.Key += "\x1f" + strconv.Itoa(i)
	}
	return a
}
