// Package guessdb counts MACs that did not hold, in the database, so that all
// processes bound one caller together.
package guessdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/store"
)

// DB is a [guess.Counts]. Safe for concurrent use.
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

var _ guess.Counts = (*DB)(nil)

const perDay = 24 * time.Hour

// day is the day that counts, in UTC, and when it ends.
func (d *DB) day() (day int64, left time.Duration) {
	now := d.now().UTC()
	day = dayOf(now)
	return day, time.Unix((day+1)*int64(perDay/time.Second), 0).Sub(now)
}

// past is the first day that is not over by every clock. What is forgotten sooner, by
// a process whose clock is ahead, may be guessed again at the others.
func (d *DB) past(ctx context.Context) (day int64, err error) {
	at, err := d.db.Surely(ctx)
	if err != nil {
		return 0, err
	}
	day, _ = d.day()
	return min(day, dayOf(at)), nil
}

func dayOf(t time.Time) int64 { return t.Unix() / int64(perDay/time.Second) }

// Standing implements [guess.Counts].
func (d *DB) Standing(ctx context.Context, client string) (guess.Standing, error) {
	day, left := d.day()
	t, err := read(d.db.Read(ctx), client, day)
	if err != nil {
		return guess.Standing{}, err
	}
	return t.standing(left), nil
}

// tally is how often a caller was wrong on one day.
type tally struct {
	total int
	names map[guess.Name]int
}

func read(db *gorm.DB, client string, day int64) (t tally, err error) {
	t.names = map[guess.Name]int{}
	err = store.Each(db, "SELECT name, misses FROM mac_misses WHERE client = ? AND day = ?", func(rows *sql.Rows) error {
		var name []byte
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return err
		}
		if len(name) != len(guess.Name{}) {
			return errors.New("a row has a name of another length")
		}
		t.total, t.names[guess.Name(name)] = t.total+n, n
		return nil
	}, client, day)
	if err != nil {
		return t, fmt.Errorf("counting MACs that did not hold: %w", err)
	}
	return t, nil
}

func (t tally) standing(left time.Duration) guess.Standing {
	s := guess.Standing{Total: t.total, Until: left}
	for name, n := range t.names {
		if n < guess.Max {
			s.Most = max(s.Most, n)
			continue
		}
		if s.Barred == nil {
			s.Barred = map[guess.Name]bool{}
		}
		s.Barred[name] = true
	}
	return s
}

// over says that a bound was passed.
func (t tally) over(name guess.Name) bool { return t.total > guess.MaxAll || t.names[name] > guess.Max }

// Miss implements [guess.Counts]. Old days of the caller go with it.
func (d *DB) Miss(ctx context.Context, client string, name guess.Name) (s guess.Standing, passed bool, err error) {
	day, left := d.day()
	past, err := d.past(ctx)
	if err != nil {
		return s, false, fmt.Errorf("counting a MAC that did not hold: %w", err)
	}
	err = d.db.Tx(ctx, func(tx *gorm.DB) error {
		if err := forget(tx, client, past); err != nil {
			return err
		}
		if err := add(tx, client, day, name, 1); err != nil {
			return err
		}
		t, err := read(tx, client, day)
		s, passed = t.standing(left), t.over(name)
		return err
	})
	if err != nil {
		return s, false, fmt.Errorf("counting a MAC that did not hold: %w", err)
	}
	return s, passed, nil
}

func forget(tx *gorm.DB, client string, past int64) error {
	return tx.Exec("DELETE FROM mac_misses WHERE client = ? AND day < ?", client, past).Error
}

func add(tx *gorm.DB, client string, day int64, name guess.Name, n int) error {
	return tx.Exec("INSERT INTO mac_misses (client, day, name, misses) VALUES (?, ?, ?, ?) "+
		"ON CONFLICT (client, day, name) DO UPDATE SET misses = mac_misses.misses + excluded.misses", client, day, name[:], n).Error
}

// kept is for how many days a record that did not hold is known when it is shown
// again. It is longer than any record is taken.
const kept = 62

// Once implements [guess.Counts]. What passes a bound is counted and known as
// well, what follows it is neither: so a caller is told of no more than a bound
// allows in a day, also when the same comes again on the next.
func (d *DB) Once(ctx context.Context, client string, misses []guess.Miss) (s guess.Standing, passed bool, err error) {
	day, left := d.day()
	past, err := d.past(ctx)
	if err != nil {
		return s, false, fmt.Errorf("counting records that did not hold: %w", err)
	}
	err = d.db.Tx(ctx, func(tx *gorm.DB) (err error) {
		if err := forgetOnce(tx, client, past); err != nil {
			return err
		}
		s, passed, err = once(tx, client, day, misses)
		return err
	})
	if err != nil {
		return s, false, fmt.Errorf("counting records that did not hold: %w", err)
	}
	s.Until = left
	return s, passed, nil
}

func forgetOnce(tx *gorm.DB, client string, past int64) error {
	if err := forget(tx, client, past); err != nil {
		return err
	}
	return tx.Exec("DELETE FROM tap_misses WHERE client = ? AND day < ?", client, past-kept).Error
}

func once(tx *gorm.DB, client string, day int64, misses []guess.Miss) (s guess.Standing, passed bool, err error) {
	t, err := read(tx, client, day)
	if err != nil {
		return s, false, err
	}
	more := map[guess.Name]int{}
	for _, m := range misses {
		if !t.over(m.Name) {
			done := tx.Exec("INSERT INTO tap_misses (client, id, day) VALUES (?, ?, ?) ON CONFLICT (client, id) DO NOTHING", client, m.ID[:], day)
			if done.Error != nil {
				return s, false, done.Error
			}
			n := int(done.RowsAffected)
			more[m.Name], t.total, t.names[m.Name] = more[m.Name]+n, t.total+n, t.names[m.Name]+n
		}
		if passed = t.over(m.Name); passed {
			break
		}
	}
	for name, n := range more {
		if n == 0 {
			continue
		}
		if err := add(tx, client, day, name, n); err != nil {
			return s, false, err
		}
	}
	return t.standing(0), passed, nil
}
