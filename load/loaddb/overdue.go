package loaddb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/load"
)

// escalated bounds how many orders one transaction is about.
const escalated = 50

// Overdue implements [load.Store].
func (d *DB) Overdue(ctx context.Context, before time.Time) (n int, err error) {
	const where = "state = ? AND escalated = 0 AND created_at < ?"
	args := []any{string(load.Started), before.UnixMilli()}
	page := func(after store.Place) (places []store.Place, err error) {
		q := d.cfg.Store.Read(ctx).Table("card_loads").Select("created_at AS at, id AS name").Where(where, args...)
		q = q.Where("(created_at, id) > (?, ?)", after.At, after.Name)
		if err := q.Order("created_at, id").Limit(escalated).Find(&places).Error; err != nil {
			return nil, fmt.Errorf("looking for loads of which nothing was heard: %w", err)
		}
		return places, nil
	}
	n, err = store.Sweep(page, func(ids []string) (n int, err error) {
		return len(ids), d.tx(ctx, func(tx *gorm.DB) error {
			some, err := list(tx, "id IN ?", ids)
			if err != nil {
				return err
			}
			return d.escalate(tx, some)
		})
	})
	if err != nil {
		err = fmt.Errorf("opening cases of loads: %w", err)
	}
	return n, err
}

// escalate opens the cases of orders that are still open.
func (d *DB) escalate(tx *gorm.DB, some []load.Record) error {
	for _, r := range some {
		done := tx.Exec("UPDATE card_loads SET escalated = 1 WHERE id = ? AND escalated = 0 AND state = ?", r.ID, string(load.Started))
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 || d.cfg.Cases == nil {
			continue
		}
		id := sha256.Sum256([]byte("card-load-open\x00" + r.ID))
		c := account.Case{ID: hex.EncodeToString(id[:16]), Kind: "CARD_LOAD_OPEN", Severity: 2, Wallet: r.Account, Ctr: r.Seq, Terminal: r.Terminal}
		if err := d.cfg.Cases.OpenCase(tx, c); err != nil {
			return err
		}
	}
	return nil
}
