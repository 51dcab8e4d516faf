package vault

import (
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/event"
)

// Events keeps what happened, in the transaction in which it happens: an event
// is told if, and only if, its cause is durable.
type Events interface {
	Emit(tx *gorm.DB, e event.Event) error
	// EmitAll keeps events of as many tokens.
	EmitAll(tx *gorm.DB, all []event.Event) error
}

// emit keeps an event, if anybody is to be told.
func (v *Vault) emit(tx *gorm.DB, e event.Event) error {
	if v.cfg.Events == nil {
		return nil
	}
	if err := v.cfg.Events.Emit(tx, e); err != nil {
		return fmt.Errorf("keeping an event: %w", err)
	}
	return nil
}

func (v *Vault) emitAll(tx *gorm.DB, all []event.Event) error {
	if v.cfg.Events == nil {
		return nil
	}
	if err := v.cfg.Events.EmitAll(tx, all); err != nil {
		return fmt.Errorf("keeping events: %w", err)
	}
	return nil
}
