package vault

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

const opRenew = "tokens:renew"

// CardExpiry returns the expiry date of the card behind a token, and nothing
// else of it: what bounds the token's own.
func (w *Writer) CardExpiry(ctx context.Context, ref token.Ref) (token.Expiry, error) {
	row, err := w.v.cardOf(ctx, ref)
	if err != nil {
		return "", err
	}
	_, expiry, err := w.v.unseal(ctx, row)
	return expiry, err
}

// cardOf reads the row of the card behind a token.
func (v *Vault) cardOf(ctx context.Context, ref token.Ref) (cardRow, error) {
	return v.reading.cards.Do(ctx, ref)
}

// Renew makes the token that o orders after the one that o.Renews names: for
// the same card, with a number of the same length. It is a compare-and-swap of
// the old token, which remembers its successor: [ErrConflict] means that the
// old token is not at o.Revision, and that nothing happened. Otherwise it is
// like [Writer.Issue].
func (w *Writer) Renew(ctx context.Context, o token.Order, caller string, a access.Attempt) (token.Token, error) {
	row, err := w.v.cardOf(ctx, o.Renews)
	if err != nil {
		return token.Token{}, err
	}
	old, err := w.Token(ctx, o.Renews)
	if err != nil {
		return token.Token{}, err
	}
	scheme, err := w.v.schemeOfCard(ctx, row)
	if err != nil {
		return token.Token{}, err
	}
	return w.v.issue(ctx, draft{Order: o, op: opRenew, digits: len(old.Number.Digits()), scheme: scheme, card: card{row: row}, caller: caller, attempt: a})
}

// Renewed returns the token that an earlier try of attempt a by caller made by
// renewing; ok is false when there was none.
func (w *Writer) Renewed(ctx context.Context, caller string, a access.Attempt) (t token.Token, ok bool, err error) {
	return w.prior(ctx, opRenew, caller, a)
}

// follow ties the token that d follows to d's.
func (v *Vault) follow(tx *gorm.DB, d draft) error {
	if d.Renews == "" {
		return nil
	}
	done := tx.Model(&tokenRow{}).Where("ref = ? AND revision = ?", string(d.Renews), d.Revision).
		Updates(map[string]any{"renewed_by": string(d.Ref), "revision": d.Revision + 1})
	if done.Error != nil {
		return fmt.Errorf("tying a token to its successor: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return ErrConflict
	}
	return v.emit(tx, event.Event{Type: event.Renewed, Ref: d.Renews, Requestor: d.Requestor, At: v.cfg.Now(),
		Data: map[string]string{"renewed_by": string(d.Ref)}})
}
