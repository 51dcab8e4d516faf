package vault

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// errLiving reports that there is a row already of what there may be one living
// token of.
var errLiving = errors.New("a token of this kind is there already")

// answerLiving returns the token that stands in the way of d and keeps it as
// the answer of the attempt, and what the request says of the card: that may
// come with a new expiry date. When that token is dead, or not good for as
// long as d asks, it makes way and no token is returned.
func (v *Vault) answerLiving(ctx context.Context, d draft) (t token.Token, err error) {
	key := *d.living()
	err = v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		t = token.Token{}
		var rows []tokenView
		if err := views(tx).Where("tokens.living = ?", key).Limit(1).Find(&rows).Error; err != nil {
			return fmt.Errorf("looking for a living token: %w", err)
		}
		if len(rows) == 0 {
			return nil // gone meanwhile
		}
		if v.dead(rows[0].Row) || !d.satisfied(rows[0].Row) {
			return makeWay(tx, rows[0].Row, key)
		}
		prior, err := store.Once(tx, d.caller, d.attempt, d.op, rows[0].Row.Ref)
		if err != nil {
			return err
		}
		if prior != "" {
			t, err = v.one(tx, token.Ref(prior))
			return err
		}
		if err := d.card.store(v, tx); err != nil {
			return err
		}
		t, err = v.toToken(rows[0])
		return err
	})
	if err != nil {
		return token.Token{}, err
	}
	return t, nil
}

// dead reports whether the token of a row has come to its end.
func (v *Vault) dead(r tokenRow) bool {
	return r.State == string(token.Deleted) || r.State == string(token.Expired) || r.NotAfter <= v.cfg.Now().UnixMilli()
}

// satisfied reports whether the token of a row is good when d asks for one, and
// for long enough. One that is held back stays the answer to its end: to ask
// again is no way around a suspension.
func (d draft) satisfied(r tokenRow) bool {
	return r.Suspenders != 0 || (d.Since.IsZero() || r.NotBefore <= d.Since.UnixMilli()) && (d.Until.IsZero() || r.NotAfter >= d.Until.UnixMilli())
}

// makeWay takes the key from a token that is not the one any more, and gives it
// to the one that renewed it: that is the living one now, if it lives.
func makeWay(tx *gorm.DB, r tokenRow, key string) error {
	done := tx.Model(&tokenRow{}).Where("ref = ? AND living = ?", r.Ref, key).Update("living", nil)
	if done.Error == nil && done.RowsAffected == 1 && r.RenewedBy != "" {
		done = tx.Model(&tokenRow{}).Where("ref = ? AND living IS NULL", r.RenewedBy).Update("living", key)
	}
	if done.Error != nil {
		return fmt.Errorf("making way for a new token: %w", done.Error)
	}
	return nil
}
