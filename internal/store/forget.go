package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
)

// AttemptsKept is how long a key is remembered, and its attempt not made again.
// It is longer than anything that a client would still send again.
const AttemptsKept = 31 * 24 * time.Hour

// forgetting is how many attempts are looked at in one transaction.
const forgetting = 500

// Forget removes the attempts that were made longer ago than [AttemptsKept], by
// every clock there is ([DB.Surely]), and returns how many: an attempt that is
// forgotten too soon is made twice. It walks along the table, so that no write pays for an index
// that only this needs. Several processes may do so at once.
func (d *DB) Forget(ctx context.Context) (gone int64, err error) {
	now, err := d.Surely(ctx)
	if err != nil {
		return 0, fmt.Errorf("forgetting attempts: %w", err)
	}
	before := now.Add(-AttemptsKept).UnixMilli()
	var last attempt
	for {
		var rows []attempt
		err := d.Read(ctx).Select("caller", "attempt_key", "created_at").Order("caller, attempt_key").Limit(forgetting).
			Where("caller > ? OR caller = ? AND attempt_key > ?", last.Caller, last.Caller, last.Key).Find(&rows).Error
		if err != nil {
			return gone, fmt.Errorf("looking through attempts: %w", err)
		}
		if len(rows) == 0 {
			return gone, nil
		}
		last = rows[len(rows)-1]
		n, err := d.forget(ctx, rows, before)
		if err != nil {
			return gone, err
		}
		gone += n
	}
}

// forget removes those of attempts that follow each other which were made before a
// moment. Most often there are none, and nothing is written.
func (d *DB) forget(ctx context.Context, rows []attempt, before int64) (n int64, err error) {
	if !slices.ContainsFunc(rows, func(r attempt) bool { return r.CreatedAt < before }) {
		return 0, nil
	}
	first, last := rows[0], rows[len(rows)-1]
	err = d.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Where("created_at < ?", before).
			Where("caller > ? OR caller = ? AND attempt_key >= ?", first.Caller, first.Caller, first.Key).
			Where("caller < ? OR caller = ? AND attempt_key <= ?", last.Caller, last.Caller, last.Key).
			Delete(&attempt{})
		n = done.RowsAffected
		return done.Error
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting attempts: %w", err)
	}
	return n, nil
}
