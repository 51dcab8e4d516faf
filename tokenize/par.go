package tokenize

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// PAR returns the payment account reference of a card, by its number or by one
// that it replaced. Only cards that tokens were made for have one here; the
// others are an error of kind CardUnknown.
func (s *Service) PAR(ctx context.Context, c access.Caller, pan token.PAN) (token.PAR, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.PARRead, cardObject(pan)); err != nil {
		return "", err
	}
	if pan.IsZero() {
		return "", fmt.Errorf("%w: a card number is required", token.ErrMalformed)
	}
	card, err := s.cfg.Vault.Card(ctx, pan)
	if err != nil {
		return "", s.cardRefused(ctx, c, access.PARRead, pan, fmt.Errorf("asking for a reference: %w", err))
	}
	return card.PAR, nil
}
