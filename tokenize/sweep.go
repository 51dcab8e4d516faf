package tokenize

import (
	"context"
	"fmt"
)

// sweepBatch bounds how many tokens one transaction of a sweep moves, so that
// others who write need not wait long.
const sweepBatch = 200

// Sweep moves tokens whose windows have closed to EXPIRED, which tells their
// requestors, and returns how many. From the end of its window on, not from
// the sweep, a token counts as expired and its number is in quarantine; so it
// does no harm to sweep late. Several processes may sweep at once.
func (s *Service) Sweep(ctx context.Context) (n int, err error) {
	for {
		moved, seen, err := s.cfg.Vault.ExpireDue(ctx, sweepBatch)
		n += moved
		if err != nil {
			return n, fmt.Errorf("sweeping tokens: %w", err)
		}
		if seen < sweepBatch {
			return n, nil
		}
	}
}
