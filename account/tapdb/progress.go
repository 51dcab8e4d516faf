package tapdb

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/internal/store"
)

// progress is how far a terminal has uploaded.
type progress struct {
	Terminal []byte `gorm:"primaryKey"`
	Uploaded int64
	StatedAt int64
}

// TableName is the table.
func (progress) TableName() string { return "terminal_progress" }

// Mark implements [account.Marks].
func (d *DB) Mark(ctx context.Context, terminal [6]byte, until, at time.Time) (far time.Time, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		row := progress{terminal[:], until.UnixMilli(), at.UnixMilli()}
		made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if made.Error != nil || made.RowsAffected == 1 {
			far = until
			return made.Error
		}
		moved := tx.Model(&progress{}).Where("terminal = ? AND uploaded < ?", terminal[:], row.Uploaded).
			Updates(map[string]any{"uploaded": row.Uploaded, "stated_at": row.StatedAt})
		if moved.Error != nil || moved.RowsAffected == 1 {
			far = until
			return moved.Error
		}
		if err := tx.Where("terminal = ?", terminal[:]).Take(&row).Error; err != nil {
			return err
		}
		far = time.UnixMilli(row.Uploaded).UTC()
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("marking a terminal: %w", err)
	}
	return far, nil
}

// Estate is the terminals that take phones: an [account.Estate].
type Estate struct {
	db        *store.DB
	terminals map[[6]byte]bool
}

// NewEstate returns the estate of the terminals of these numbers.
func NewEstate(db *store.DB, terminals ...[6]byte) *Estate {
	e := &Estate{db, make(map[[6]byte]bool, len(terminals))}
	for _, t := range terminals {
		e.terminals[t] = true
	}
	return e
}

// Uploaded implements [account.Estate]. A terminal that never said how far it is
// holds everything back, and so does an estate without terminals.
func (e *Estate) Uploaded(ctx context.Context) (time.Time, error) {
	var rows []progress
	if err := e.db.Read(ctx).Find(&rows).Error; err != nil {
		return time.Time{}, fmt.Errorf("reading how far terminals have uploaded: %w", err)
	}
	heard, far := 0, int64(0)
	for _, r := range rows {
		if len(r.Terminal) != 6 || !e.terminals[[6]byte(r.Terminal)] {
			continue
		}
		if heard++; heard == 1 || r.Uploaded < far {
			far = r.Uploaded
		}
	}
	if heard == 0 || heard < len(e.terminals) {
		return time.Time{}, nil
	}
	return time.UnixMilli(far).UTC(), nil
}
