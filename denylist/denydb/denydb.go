// Package denydb keeps the deny list's versions and the orders of operators in
// the database, for any number of processes.
package denydb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/terminal/deny"
)

// errRow reports a stored row that this program did not write.
var errRow = fault.New(fault.StoreDown, "a stored row of the deny list cannot be read")

// DB keeps the deny list in a database. Safe for concurrent use.
type DB struct{ store *store.DB }

// New returns the deny list in db, which has been migrated.
func New(db *store.DB) *DB { return &DB{db} }

type versionRow struct {
	Version  int64 `gorm:"primaryKey;autoIncrement:false"`
	At       int64
	Switches []byte
}

// TableName is the table.
func (versionRow) TableName() string { return "deny_versions" }

func (r versionRow) version() (denylist.Version, error) {
	s, err := deny.ParseSwitches(r.Switches)
	if err != nil {
		return denylist.Version{}, fmt.Errorf("%w: switches", errRow)
	}
	return denylist.Version{Number: uint64(r.Version), At: time.UnixMilli(r.At).UTC(), Switches: s}, nil
}

// entryRow is wide enough for all that a database returns: a value that no program writes
// must keep only its own entry from readers.
type entryRow struct {
	Kind  int64  `gorm:"primaryKey;autoIncrement:false"`
	Name  string `gorm:"primaryKey"`
	Ctr   int64
	Until int64
}

// TableName is the table.
func (entryRow) TableName() string { return "deny_entries" }

func toEntry(l denylist.Line) entryRow {
	return entryRow{int64(l.Kind), l.Name, int64(l.Ctr), l.Until.UnixMilli()}
}

// line reads a row. A kind or counter that there cannot be is read as 0, which no reader is
// told of where it would mean something else.
func (r entryRow) line() denylist.Line {
	if r.Kind < 0 || r.Kind > math.MaxUint8 {
		r.Kind = 0
	}
	if r.Ctr < 0 || r.Ctr > math.MaxUint16 {
		r.Ctr = 0
	}
	return denylist.Line{ID: denylist.ID{Kind: deny.Kind(r.Kind), Name: r.Name}, Ctr: uint16(r.Ctr), Until: time.UnixMilli(r.Until).UTC()}
}

type changeRow struct {
	Version int64    `gorm:"primaryKey;autoIncrement:false"`
	Entry   entryRow `gorm:"embedded"`
	Removed int      // 1: yes
}

// TableName is the table.
func (changeRow) TableName() string { return "deny_changes" }

// last reads the last version; the list before there was any is version 0.
func last(db *gorm.DB) (denylist.Version, error) {
	var rows []versionRow
	if err := db.Order("version DESC").Limit(1).Find(&rows).Error; err != nil {
		return denylist.Version{}, fmt.Errorf("reading the deny list: %w", err)
	}
	if len(rows) == 0 {
		return denylist.Version{}, nil
	}
	return rows[0].version()
}

// Head implements [denylist.Store].
func (d *DB) Head(ctx context.Context) (denylist.Version, error) { return last(d.store.Read(ctx)) }

// Published implements [denylist.Store].
func (d *DB) Published(ctx context.Context) (v denylist.Version, lines []denylist.Line, err error) {
	err = d.store.Snapshot(ctx, func(tx *gorm.DB) error {
		tx = tx.Session(&gorm.Session{NewDB: true}) // several questions
		if v, err = last(tx); err != nil {
			return err
		}
		var rows []entryRow
		if err := tx.Find(&rows).Error; err != nil {
			return fmt.Errorf("reading the deny list: %w", err)
		}
		lines = make([]denylist.Line, len(rows))
		for i, r := range rows {
			lines[i] = r.line()
		}
		return nil
	})
	return v, lines, err
}

// Changes implements [denylist.Store].
func (d *DB) Changes(ctx context.Context, after uint64) (v denylist.Version, changes []denylist.Change, err error) {
	err = d.store.Snapshot(ctx, func(tx *gorm.DB) error {
		tx = tx.Session(&gorm.Session{NewDB: true}) // several questions
		if v, err = last(tx); err != nil {
			return err
		}
		if after > v.Number {
			return denylist.ErrTooOld
		}
		var next []int64
		err := tx.Model(&versionRow{}).Where("version > ?", int64(after)).Order("version").Limit(1).Pluck("version", &next).Error
		if err != nil {
			return fmt.Errorf("reading the deny list: %w", err)
		}
		if len(next) > 0 && next[0] != int64(after)+1 {
			return denylist.ErrTooOld
		}
		var rows []changeRow
		if err := tx.Where("version > ?", int64(after)).Order("version, kind, name").Find(&rows).Error; err != nil {
			return fmt.Errorf("reading the deny list: %w", err)
		}
		changes = make([]denylist.Change, len(rows))
		for i, r := range rows {
			changes[i] = denylist.Change{Line: r.Entry.line(), Removed: r.Removed == 1}
		}
		return nil
	})
	if err != nil {
		return denylist.Version{}, nil, err
	}
	return v, changes, nil
}

// Publish implements [denylist.Store].
func (d *DB) Publish(ctx context.Context, v denylist.Version, changes []denylist.Change) error {
	err := d.store.Tx(ctx, func(tx *gorm.DB) error {
		switches := v.Switches.Bytes()
		row := versionRow{int64(v.Number), v.At.UnixMilli(), switches[:]}
		if err := tx.Create(&row).Error; err != nil {
			return fmt.Errorf("publishing the deny list: %w", err)
		}
		return keep(tx, v, changes)
	})
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return denylist.ErrBehind
	}
	return err
}

// keep writes what a version changed, and the list as it then is.
func keep(tx *gorm.DB, v denylist.Version, changes []denylist.Change) error {
	var log []changeRow
	var now []entryRow
	for _, c := range changes {
		r := toEntry(c.Line)
		row := changeRow{Version: int64(v.Number), Entry: r}
		if c.Removed {
			row.Removed = 1
		}
		log = append(log, row)
		if !c.Removed {
			now = append(now, r)
			continue
		}
		if err := tx.Where("kind = ? AND name = ?", r.Kind, r.Name).Delete(&entryRow{}).Error; err != nil {
			return fmt.Errorf("publishing the deny list: %w", err)
		}
	}
	if len(log) > 0 {
		if err := tx.CreateInBatches(log, 100).Error; err != nil {
			return fmt.Errorf("publishing the deny list: %w", err)
		}
	}
	if len(now) > 0 {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).CreateInBatches(now, 100).Error; err != nil {
			return fmt.Errorf("publishing the deny list: %w", err)
		}
	}
	if err := tx.Where("until <= ?", v.At.UnixMilli()).Delete(&entryRow{}).Error; err != nil {
		return fmt.Errorf("publishing the deny list: %w", err)
	}
	return nil
}

// Forget implements [denylist.Store].
func (d *DB) Forget(ctx context.Context, history time.Time) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		var from []int64 // the last version of the time that is forgotten, unless it is still the list
		err := tx.Model(&versionRow{}).Where("at < ? AND version < (SELECT MAX(version) FROM deny_versions)", history.UnixMilli()).
			Order("version DESC").Limit(1).Pluck("version", &from).Error
		if err == nil && len(from) > 0 {
			err = tx.Where("version <= ?", from[0]).Delete(&changeRow{}).Error
		}
		if err == nil && len(from) > 0 {
			err = tx.Where("version <= ?", from[0]).Delete(&versionRow{}).Error
		}
		if err != nil {
			return fmt.Errorf("forgetting old deny lists: %w", err)
		}
		return nil
	})
}
