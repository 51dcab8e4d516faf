// Package guessdb counts MACs of cards that did not hold, in the database, so
// that all processes bound one caller together.
package guessdb

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/internal/store"
)

// DB is a [cardhost.Guesses]. Safe for concurrent use.
type DB struct {
	db  *store.DB
	now func() time.Time
}

// New returns the counts of a database that is migrated; a nil now is time.Now.
func New(db *store.DB, now func() time.Time) *DB {
	if now == nil {
		now = time.Now
	}
	return &DB{db, now}
}

var _ cardhost.Guesses = (*DB)(nil)

const perDay = 24 * time.Hour

// day is the day that counts, in UTC, and when it ends.
func (d *DB) day() (day int64, left time.Duration) {
	now := d.now().UTC()
	day = now.Unix() / int64(perDay/time.Second)
	return day, time.Unix((day+1)*int64(perDay/time.Second), 0).Sub(now)
}

// Standing implements [cardhost.Guesses].
func (d *DB) Standing(ctx context.Context, client string) (s cardhost.Standing, err error) {
	day, left := d.day()
	s.Until = left
	err = store.Each(d.db.Read(ctx), "SELECT name, misses FROM mac_misses WHERE client = ? AND day = ?", func(rows *sql.Rows) error {
		var name []byte
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return err
		}
		s.Total += n
		if n >= cardhost.MaxMisses && len(name) == 32 {
			if s.Barred == nil {
				s.Barred = map[[32]byte]bool{}
			}
			s.Barred[[32]byte(name)] = true
		}
		return nil
	}, client, day)
	if err != nil {
		return s, fmt.Errorf("counting MACs that did not hold: %w", err)
	}
	return s, nil
}

// Miss implements [cardhost.Guesses]. Old days of the caller go with it.
func (d *DB) Miss(ctx context.Context, client string, name [32]byte) error {
	day, _ := d.day()
	err := d.db.Tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("DELETE FROM mac_misses WHERE client = ? AND day < ?", client, day).Error; err != nil {
			return err
		}
		return tx.Exec("INSERT INTO mac_misses (client, day, name, misses) VALUES (?, ?, ?, 1) "+
			"ON CONFLICT (client, day, name) DO UPDATE SET misses = mac_misses.misses + 1", client, day, name[:]).Error
	})
	if err != nil {
		return fmt.Errorf("counting a MAC that did not hold: %w", err)
	}
	return nil
}
