package load

import (
	"context"
	"fmt"
	"time"
)

// overdue is how long a card may keep its answer to itself before somebody has to
// look.
const overdue = 24 * time.Hour

// Sweep has somebody look at orders of which nothing was heard: their money is
// neither the account's nor the card's meanwhile. What their cards show later
// still decides.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	now, err := s.surely(ctx)
	if err != nil {
		return 0, err
	}
	return s.cfg.Store.Overdue(ctx, now.Add(-overdue))
}

// surely is the moment that has come by every clock there is: a process whose clock
// is ahead gives back no money that a card may still take.
func (s *Service) surely(ctx context.Context) (time.Time, error) {
	now, err := s.cfg.Sure(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking a second clock: %w", err)
	}
	return now, nil
}
