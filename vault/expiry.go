package vault

import (
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// part moves the expiry dates of tokens on that have become their card's own,
// because the card was given a new one, and tells of it: a token's date never
// shows the card's. It belongs to the transaction that changes the card.
func (v *Vault) part(tx *gorm.DB, card string, expiry token.Expiry) error {
	var rows []tokenRow
	err := tx.Select("ref", "requestor", "state").
		Where("card_id = ? AND expiry = ? AND state NOT IN ?", card, string(expiry), ended).Order("ref").Find(&rows).Error
	for i := 0; err == nil && i < len(rows); i++ {
		err = tx.Model(&tokenRow{}).Where("ref = ?", rows[i].Ref).
			Updates(map[string]any{"expiry": string(expiry.Next()), "revision": gorm.Expr("revision + 1")}).Error
		if err == nil {
			err = v.emit(tx, event.Event{Type: event.Updated, Ref: token.Ref(rows[i].Ref), Requestor: token.Requestor(rows[i].Requestor),
				At: v.cfg.Now(), Data: map[string]string{"state": rows[i].State, "token_expiry_date": string(expiry.Next())}})
		}
	}
	if err != nil {
		return fmt.Errorf("parting tokens from their card's expiry date: %w", err)
	}
	return nil
}
