package loaddb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/load"
)

// escalated bounds how many orders one transaction is about.
const escalated = 50

// Overdue implements [load.Store].
func (d *DB) Overdue(ctx context.Context, before time.Time) (n int, err error) {
	for {
		const where = "state = ? AND escalated = 0 AND created_at < ?"
		args := []any{string(load.Started), before.UnixMilli()}
		some, err := records(d.cfg.Store.Read(ctx).Where(where, args...).Order("created_at, id").Limit(escalated))
		if err != nil || len(some) == 0 {
			return n, err
		}
		if err := d.tx(ctx, func(tx *gorm.DB) error { return d.escalate(tx, some) }); err != nil {
			return n, fmt.Errorf("opening cases of loads: %w", err)
		}
		n += len(some)
	}
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
