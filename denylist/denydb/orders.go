package denydb

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/terminal/deny"
)

type orderRow struct {
	Entry     entryRow `gorm:"embedded"`
	Reason    string
	OrderedBy string
	OrderedAt int64
}

// TableName is the table.
func (orderRow) TableName() string { return "deny_orders" }

type switchRow struct {
	ID        int64 `gorm:"primaryKey;autoIncrement:false"`
	Switches  []byte
	Reason    string
	OrderedBy string
	OrderedAt int64
}

// TableName is the table.
func (switchRow) TableName() string { return "deny_switches" }

// Wanted implements [denylist.Orders].
func (d *DB) Wanted(ctx context.Context, after time.Time) (lines []denylist.Line, s deny.Switches, err error) {
	var rows []orderRow
	if err := d.store.Read(ctx).Where("until > ?", after.UnixMilli()).Find(&rows).Error; err != nil {
		return nil, s, fmt.Errorf("reading orders: %w", err)
	}
	for _, r := range rows {
		lines = append(lines, r.Entry.line())
	}
	var last []switchRow
	if err := d.store.Read(ctx).Order("id DESC").Limit(1).Find(&last).Error; err != nil {
		return nil, s, fmt.Errorf("reading orders: %w", err)
	}
	if len(last) > 0 {
		if s, err = deny.ParseSwitches(last[0].Switches); err != nil {
			return nil, s, fmt.Errorf("%w: switches", errRow)
		}
	}
	return lines, s, nil
}

// opOrder names orders in the table of attempts.
const opOrder = "denylist:order"

// Order implements [denylist.Orders].
func (d *DB) Order(ctx context.Context, caller string, a access.Attempt, o denylist.Order, at time.Time) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, opOrder, "kept")
		if err != nil || prior != "" {
			return err
		}
		if o.Switches != nil {
			return orderSwitches(tx, caller, o, at)
		}
		row := orderRow{toEntry(*o.Line), o.Reason, caller, at.UnixMilli()}
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return fmt.Errorf("keeping an order: %w", err)
		}
		return nil
	})
}

func orderSwitches(tx *gorm.DB, caller string, o denylist.Order, at time.Time) error {
	var last []int64
	if err := tx.Model(&switchRow{}).Order("id DESC").Limit(1).Pluck("id", &last).Error; err != nil {
		return fmt.Errorf("reading orders: %w", err)
	}
	b := o.Switches.Bytes()
	row := switchRow{1, b[:], o.Reason, caller, at.UnixMilli()}
	if len(last) > 0 {
		row.ID = last[0] + 1
	}
	if err := tx.Create(&row).Error; err != nil {
		return fmt.Errorf("keeping an order: %w", err)
	}
	return nil
}

// After implements [denylist.History].
func (d *DB) After(ctx context.Context, v uint64) (at time.Time, ok, known bool, err error) {
	head, err := d.Head(ctx)
	if err != nil || v > head.Number {
		return at, false, false, err
	}
	var next []int64
	err = d.store.Read(ctx).Model(&versionRow{}).Where("version > ?", int64(v)).Order("version").Limit(1).Pluck("at", &next).Error
	if err != nil {
		return at, false, false, fmt.Errorf("reading the deny list's history: %w", err)
	}
	if len(next) == 0 {
		return at, false, true, nil
	}
	return time.UnixMilli(next[0]).UTC(), true, true, nil
}

// Listed implements [denylist.History].
func (d *DB) Listed(ctx context.Context, id denylist.ID, since time.Time) (v denylist.Version, ok bool, err error) {
	var rows []versionRow
	err = d.store.Read(ctx).
		Joins("JOIN deny_changes ON deny_changes.version = deny_versions.version").
		Where("deny_changes.name = ? AND deny_changes.kind = ? AND deny_changes.removed = 0 AND deny_versions.at >= ?",
			id.Name, uint8(id.Kind), since.UnixMilli()).
		Order("deny_versions.version").Limit(1).Find(&rows).Error
	if err != nil {
		return v, false, fmt.Errorf("reading the deny list's history: %w", err)
	}
	if len(rows) == 0 {
		return v, false, nil
	}
	v, err = rows[0].version()
	return v, err == nil, err
}
