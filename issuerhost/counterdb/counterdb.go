// Package counterdb keeps the transaction counters of EMV cards in the database.
package counterdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/issuerhost"
)

// DB implements [issuerhost.Counters]. Safe for concurrent use.
type DB struct {
	db  *store.DB
	now func() time.Time
}

// New returns the counters of a database that is migrated.
func New(db *store.DB, now func() time.Time) *DB {
	if now == nil {
		now = time.Now
	}
	return &DB{db, now}
}

// counter is a row.
type counter struct {
	Name      []byte `gorm:"primaryKey"`
	High      int
	Seen      int64 // the bits of an unsigned number
	Unsure    bool
	Revision  int64
	ChangedAt int64
}

// TableName is the table.
func (counter) TableName() string { return "emv_counters" }

// errMoved reports a counter that somebody else moved meanwhile.
var errMoved = errors.New("the counter moved meanwhile")

// tries is how often a value is tried to take: of processes that meet, one is
// told to look again.
const tries = 8

// operation names these effects in the table of attempts.
const operation = "emv-counter"

// Spend implements [issuerhost.Counters].
func (d *DB) Spend(ctx context.Context, client string, a access.Attempt, name [32]byte, value uint16, w issuerhost.Window) error {
	return d.moving(ctx, func(tx *gorm.DB) error {
		_, err := d.spend(tx, client, a, name, value, w)
		return err
	})
}

// moving runs fn in a transaction, anew while others move the same counter.
func (d *DB) moving(ctx context.Context, fn func(tx *gorm.DB) error) (err error) {
	for range tries {
		err = d.db.Tx(ctx, fn)
		if !errors.Is(err, errMoved) && !errors.Is(err, gorm.ErrDuplicatedKey) {
			return err
		}
	}
	return err
}

// spend takes a value; again reports that the same attempt took it before.
func (d *DB) spend(tx *gorm.DB, client string, a access.Attempt, name [32]byte, value uint16, w issuerhost.Window) (again bool, err error) {
	prior, err := store.Once(tx, client, a, operation, fmt.Sprintf("%x:%d", name[:8], value))
	if err != nil || prior != "" {
		return prior != "", err
	}
	return false, d.take(tx, name, value, w)
}

func (d *DB) take(tx *gorm.DB, name [32]byte, value uint16, w issuerhost.Window) error {
	var rows []counter
	if err := tx.Where("name = ?", name[:]).Limit(1).Find(&rows).Error; err != nil {
		return fmt.Errorf("reading a counter: %w", err)
	}
	var was issuerhost.Line
	if len(rows) > 0 {
		was = issuerhost.Line{High: uint16(rows[0].High), Seen: uint64(rows[0].Seen), Unsure: rows[0].Unsure}
	}
	next, err := was.Take(value, w)
	if err != nil {
		return err
	}
	row := counter{Name: name[:], High: int(next.High), Seen: int64(next.Seen), ChangedAt: d.now().UnixMilli()}
	if len(rows) == 0 {
		if err := tx.Create(&row).Error; err != nil {
			return fmt.Errorf("keeping a counter: %w", err)
		}
		return nil
	}
	row.Revision = rows[0].Revision + 1
	done := tx.Model(&counter{}).Where("name = ? AND revision = ?", name[:], rows[0].Revision).
		Select("high", "seen", "unsure", "revision", "changed_at").Updates(&row)
	if done.Error != nil {
		return fmt.Errorf("keeping a counter: %w", done.Error)
	}
	if done.RowsAffected != 1 {
		return errMoved
	}
	return nil
}

func (d *DB) day() int64 { return d.now().Unix() / (24 * 60 * 60) }

// Misses implements [issuerhost.Counters].
func (d *DB) Misses(ctx context.Context, client string, name [32]byte) (n int, err error) {
	return missed(d.db.Read(ctx), client, name, d.day())
}

func missed(db *gorm.DB, client string, name [32]byte, day int64) (n int, err error) {
	err = db.Raw("SELECT COALESCE(SUM(misses), 0) FROM emv_misses WHERE client = ? AND name = ? AND day = ?", client, name[:], day).Scan(&n).Error
	if err != nil {
		return 0, fmt.Errorf("counting refused cryptograms: %w", err)
	}
	return n, nil
}

// Take implements [issuerhost.Counters].
func (d *DB) Take(ctx context.Context, client string, name [32]byte, most int) (giveBack func(context.Context) error, err error) {
	day := d.day()
	err = d.db.Tx(ctx, func(tx *gorm.DB) error {
		giveBack = nil
		done := tx.Exec("INSERT INTO emv_misses (client, name, day, misses) VALUES (?, ?, ?, 1) "+
			"ON CONFLICT (client, name, day) DO UPDATE SET misses = emv_misses.misses + 1 WHERE emv_misses.misses < ?", client, name[:], day, most)
		if done.Error != nil {
			return fmt.Errorf("counting a check: %w", done.Error)
		}
		if done.RowsAffected == 1 {
			giveBack = func(ctx context.Context) error { return d.giveBack(ctx, client, name, day) }
		}
		return nil
	})
	return giveBack, err
}

func (d *DB) giveBack(ctx context.Context, client string, name [32]byte, day int64) error {
	return d.db.Tx(ctx, func(tx *gorm.DB) error {
		err := tx.Exec("UPDATE emv_misses SET misses = misses - 1 WHERE client = ? AND name = ? AND day = ? AND misses > 0", client, name[:], day).Error
		if err != nil {
			return fmt.Errorf("giving a check back: %w", err)
		}
		return nil
	})
}

// Miss implements [issuerhost.Counters].
func (d *DB) Miss(ctx context.Context, client string, name [32]byte) (n int, err error) {
	day := d.day()
	err = d.db.Tx(ctx, func(tx *gorm.DB) error {
		err := tx.Exec("INSERT INTO emv_misses (client, name, day, misses) VALUES (?, ?, ?, 1) "+
			"ON CONFLICT (client, name, day) DO UPDATE SET misses = emv_misses.misses + 1", client, name[:], day).Error
		if err != nil {
			return fmt.Errorf("counting a refused cryptogram: %w", err)
		}
		n, err = missed(tx, client, name, day)
		return err
	})
	return n, err
}
