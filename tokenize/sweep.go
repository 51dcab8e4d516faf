package tokenize

import (
	"context"
	"fmt"
)

// Sweep moves tokens whose windows have closed to EXPIRED, which tells their
// requestors. It returns how many it moved. A token stops paying at its end, not
// at the sweep; from then on a token counts as expired and its number is in quarantine; so it
// does no harm to sweep late. Several processes may sweep at once.
func (s *Service) Sweep(ctx context.Context) (n int, err error) {
	if n, err = s.cfg.Vault.ExpireDue(ctx); err != nil {
		return n, fmt.Errorf("sweeping tokens: %w", err)
	}
	return n, nil
}
