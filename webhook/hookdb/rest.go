package hookdb

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/webhook"
)

// Rest implements [webhook.Queue].
func (d *DB) Rest(ctx context.Context, e webhook.Endpoint) (webhook.Rest, error) {
	var m mark
	if err := d.store.Read(ctx).Where("endpoint = ?", e.Name).Limit(1).Find(&m).Error; err != nil {
		return webhook.Rest{}, fmt.Errorf("reading how a webhook fared: %w", err)
	}
	r := webhook.Rest{Failures: m.Failures}
	if m.RestUntil != 0 {
		r.Until = time.UnixMilli(m.RestUntil)
	}
	return r, nil
}

// Change implements [webhook.Queue].
func (d *DB) Change(ctx context.Context, e webhook.Endpoint, was, is webhook.Rest) (changed bool, err error) {
	err = d.store.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&mark{}).Where("endpoint = ? AND failures = ? AND rest_until = ?", e.Name, was.Failures, store.Millis(was.Until)).
			Updates(map[string]any{"failures": is.Failures, "rest_until": store.Millis(is.Until)})
		changed = done.RowsAffected == 1
		return done.Error
	})
	if err != nil {
		return false, fmt.Errorf("keeping how a webhook fared: %w", err)
	}
	return changed, nil
}
