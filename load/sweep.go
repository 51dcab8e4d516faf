package load

import (
	"context"
	"time"
)

// overdue is how long a card may keep its answer to itself before somebody has to
// look.
const overdue = 24 * time.Hour

// Sweep has somebody look at orders of which nothing was heard: their money is
// neither the account's nor the card's meanwhile. What their cards show later
// still decides.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	return s.cfg.Store.Overdue(ctx, s.cfg.Now().Add(-overdue))
}
