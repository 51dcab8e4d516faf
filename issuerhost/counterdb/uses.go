package counterdb

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/issuerhost"
)

// use is a row of a token cryptogram.
type use struct {
	Name      []byte `gorm:"primaryKey"`
	ATC       int    `gorm:"primaryKey;column:atc"`
	ExpiresAt int64
	UsedAt    int64
}

// TableName is the table.
func (use) TableName() string { return "emv_token_uses" }

// operations in the table of attempts.
const (
	making = "emv-token-make"
	using  = "emv-token-use"
)

// Next implements [issuerhost.Uses].
func (d *DB) Next(ctx context.Context, client string, a access.Attempt, name [32]byte, good time.Duration) (value uint16, err error) {
	err = d.moving(ctx, func(tx *gorm.DB) error {
		value, err = d.next(tx, client, a, name, good)
		return err
	})
	return value, err
}

func (d *DB) next(tx *gorm.DB, client string, a access.Attempt, name [32]byte, good time.Duration) (uint16, error) {
	prior, err := store.Prior(tx, client, a, making)
	if err != nil {
		return 0, err
	}
	if prior != "" {
		n, err := strconv.ParseUint(prior, 10, 16)
		return uint16(n), err
	}
	value, err := d.following(tx, name)
	if err != nil {
		return 0, err
	}
	if _, err := store.Once(tx, client, a, making, strconv.Itoa(int(value))); err != nil {
		return 0, err
	}
	if err := d.take(tx, name, value, issuerhost.Window{Ahead: 1}); err != nil {
		return 0, err
	}
	row := use{Name: name[:], ATC: int(value), ExpiresAt: d.now().Add(good).UnixMilli()}
	if err := tx.Create(&row).Error; err != nil {
		return 0, fmt.Errorf("keeping a token cryptogram: %w", err)
	}
	return value, nil
}

// lost is how many cryptograms of one token may have been made by a life of the database
// that was lost.
const lost = 2048

// following is the value that follows those that were made of a name, and those that may
// have been made before the database was put back.
func (d *DB) following(tx *gorm.DB, name [32]byte) (uint16, error) {
	var rows []counter
	if err := tx.Where("name = ?", name[:]).Limit(1).Find(&rows).Error; err != nil {
		return 0, fmt.Errorf("reading a counter: %w", err)
	}
	value := 1
	switch {
	case len(rows) == 0:
		var restores int
		if err := tx.Raw("SELECT count(*) FROM restores").Scan(&restores).Error; err != nil {
			return 0, fmt.Errorf("reading how often the database was put back: %w", err)
		}
		value += restores * lost
	case rows[0].Unsure:
		value += rows[0].High + lost
	default:
		value += rows[0].High
	}
	if value > math.MaxUint16 {
		return 0, issuerhost.ErrSpent
	}
	return uint16(value), nil
}

// Use implements [issuerhost.Uses].
func (d *DB) Use(ctx context.Context, client string, a access.Attempt, name [32]byte, value uint16) error {
	return d.db.Tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, client, a, using, fmt.Sprintf("%x:%d", name[:8], value))
		if err != nil || prior != "" {
			return err
		}
		now := d.now().UnixMilli()
		done := tx.Exec("UPDATE emv_token_uses SET used_at = ? WHERE name = ? AND atc = ? AND used_at = 0 AND expires_at > ?", now, name[:], int(value), now)
		if done.Error != nil {
			return fmt.Errorf("using a token cryptogram: %w", done.Error)
		}
		if done.RowsAffected != 1 {
			return issuerhost.ErrReplayed
		}
		return nil
	})
}

// Try implements [issuerhost.PINTries].
func (d *DB) Try(ctx context.Context, name [32]byte, most int) (ok bool, err error) {
	err = d.db.Tx(ctx, func(tx *gorm.DB) error {
		ok, err = d.try(tx, name, most)
		return err
	})
	return ok, err
}

func (d *DB) try(tx *gorm.DB, name [32]byte, most int) (ok bool, err error) {
	at := d.now().UnixMilli()
	// gorm takes bytes that follow a parenthesis for a list, so the name is second
	done := tx.Exec("INSERT INTO emv_pin_tries (tries, name, changed_at) VALUES (1, ?, ?) ON CONFLICT (name) DO NOTHING", name[:], at)
	if done.Error == nil && done.RowsAffected == 0 {
		done = tx.Exec("UPDATE emv_pin_tries SET tries = tries + 1, changed_at = ? WHERE name = ? AND tries < ?", at, name[:], most)
	}
	if done.Error != nil {
		return false, fmt.Errorf("taking a try of a PIN: %w", done.Error)
	}
	return done.RowsAffected == 1, nil
}

// Known implements [issuerhost.PINTries].
func (d *DB) Known(ctx context.Context, client string, a access.Attempt) (bool, error) {
	prior, err := store.Prior(d.db.Read(ctx), client, a, operation)
	return prior != "", err
}

// Settle implements [issuerhost.PINTries].
func (d *DB) Settle(ctx context.Context, client string, a access.Attempt, t issuerhost.Settled) error {
	return d.moving(ctx, func(tx *gorm.DB) error {
		again, err := d.spend(tx, client, a, t.Line, t.Value, t.Window)
		switch {
		case err != nil:
			return err
		case again:
			return d.setTries(tx, t.PINs, "tries - 1")
		case t.Right:
			return d.setTries(tx, t.PINs, "0")
		}
		return nil
	})
}

// GiveBack implements [issuerhost.PINTries].
func (d *DB) GiveBack(ctx context.Context, name [32]byte) error {
	return d.db.Tx(ctx, func(tx *gorm.DB) error { return d.setTries(tx, name, "tries - 1") })
}

func (d *DB) setTries(tx *gorm.DB, name [32]byte, to string) error {
	err := tx.Exec("UPDATE emv_pin_tries SET tries = "+to+", changed_at = ? WHERE name = ? AND tries > 0", d.now().UnixMilli(), name[:]).Error
	if err != nil {
		return fmt.Errorf("settling a try of a PIN: %w", err)
	}
	return nil
}
