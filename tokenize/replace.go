package tokenize

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Cards is where cards are kept. Its errors carry a fault kind: CardUnknown
// for a number that no token was made for, CardKnown when the new number is
// another card's.
type Cards interface {
	Card(ctx context.Context, pan token.PAN) (token.Card, error)
	// ReplaceCard is durable on return, with all its effects on tokens.
	ReplaceCard(ctx context.Context, old, pan token.PAN, expiry token.Expiry, caller string, a access.Attempt) (token.Card, error)
}

// Replace says which card takes the place of which.
type Replace struct {
	Old       token.PAN
	New       token.PAN    // zero: the number stays and only the expiry date is new
	NewExpiry token.Expiry // of the new card
	Attempt   access.Attempt
}

// ReplaceCard puts a new card behind every living token of an old one, whoever
// requested them: a card that was re-issued, lost or renewed. Tokens, their
// numbers and keys and the payment account reference stay. Replacing what is
// replaced already succeeds. The change is durable on return; after an error it
// may have happened, and asking again tells.
func (s *Service) ReplaceCard(ctx context.Context, c access.Caller, r Replace) (token.Card, error) {
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.CardReplace, cardObject(r.Old), "replace"); err != nil {
		return token.Card{}, err
	}
	if r.New.IsZero() {
		r.New = r.Old
	}
	if r.Old.IsZero() {
		return token.Card{}, fmt.Errorf("%w: a card number is required", token.ErrMalformed)
	}
	if _, err := token.ParseExpiry(string(r.NewExpiry)); err != nil {
		return token.Card{}, err
	}
	if r.NewExpiry.Before(s.cfg.Now().In(s.cfg.Calendar.Zone)) {
		return token.Card{}, ErrCardExpired
	}
	card, err := s.cfg.Vault.ReplaceCard(ctx, r.Old, r.New, r.NewExpiry, c.ID, r.Attempt)
	if err != nil {
		return token.Card{}, s.cardRefused(ctx, c, access.CardReplace, r.Old, fmt.Errorf("replacing a card: %w", err))
	}
	return card, nil
}

// cardRefused records a refusal that is about the card; other errors pass.
func (s *Service) cardRefused(ctx context.Context, c access.Caller, a access.Action, pan token.PAN, err error) error {
	switch k := fault.KindOf(err); k {
	case fault.CardUnknown, fault.CardKnown, fault.CardReplaced, fault.CardIsToken:
		return s.cfg.Gate.Refuse(ctx, c, a, cardObject(pan), string(k), err)
	}
	return err
}

// cardObject names a card in the record, by what may be shown of it.
func cardObject(pan token.PAN) string { return "card-" + pan.Last4() }
