// Package tapdb keeps evidence of taps in the database, each slot posted once.
package tapdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// Events tells of what happens to wallets, in the transaction in which it happens.
type Events interface {
	Emit(tx *gorm.DB, e event.Event) error
}

// DB is an [account.Journal] on a database, and keeps its wallets. Safe for
// concurrent use.
type DB struct {
	store  *store.DB
	now    func() time.Time
	events Events
	rules  account.Rules
	sure   func(context.Context) (time.Time, error)
}

// New returns the journal in db, which has been migrated. A nil now is
// time.Now.
func New(db *store.DB, now func() time.Time) *DB {
	if now == nil {
		now = time.Now
	}
	return &DB{store: db, now: now, rules: account.Rules{Skew: 2 * time.Minute, Zone: time.UTC}}
}

// With returns d with those who are told of wallets, and with rules to find fraud
// by.
func (d *DB) With(e Events, r account.Rules) *DB {
	c := *d
	c.events, c.rules = e, r
	return &c
}

// By returns d with what says which moment has come by every clock; nil: the process's is
// the only one.
func (d *DB) By(sure func(context.Context) (time.Time, error)) *DB {
	c := *d
	c.sure = sure
	return &c
}

// emit tells of an event, if anybody is to be told.
func (d *DB) emit(tx *gorm.DB, e event.Event) error {
	if d.events == nil {
		return nil
	}
	e.At = d.now()
	return d.events.Emit(tx, e)
}

// tries is how often a recording is begun: another process that posts to the
// same slot at the same moment makes the database refuse one of the two.
const tries = 3

// tx runs fn in a transaction, again when another process was faster.
func (d *DB) tx(ctx context.Context, fn func(tx *gorm.DB) error) (err error) {
	for range tries {
		if err = d.store.Tx(ctx, fn); !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return err
}

// Record implements [account.Journal].
func (d *DB) Record(ctx context.Context, evidence []account.Evidence, refusals []account.Refusal) (results []account.Result, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		results, err = d.record(tx, evidence, refusals)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recording taps: %w", ofRow(err))
	}
	return results, nil
}

// ofRow marks what fails, whoever tries and however often, because stored rows do not agree
// with each other.
func ofRow(err error) error {
	for _, e := range []error{ledger.ErrFunds, ledger.ErrInvalid, ledgerdb.ErrNoWallet, ledgerdb.ErrOther,
		gorm.ErrDuplicatedKey, gorm.ErrCheckConstraintViolated, gorm.ErrForeignKeyViolated} {
		if errors.Is(err, e) {
			return fault.Unreadable(err)
		}
	}
	return err
}

// refuse stores refusals; one that is stored already stays as it is.
func refuse(tx *gorm.DB, refusals []account.Refusal) error {
	if len(refusals) == 0 {
		return nil
	}
	rows := make([]refusal, len(refusals))
	for i, r := range refusals {
		rows[i] = toRefusal(r)
	}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(rows, 100).Error; err != nil {
		return fmt.Errorf("inserting refusals: %w", err)
	}
	return nil
}

// Entry implements [account.Journal].
func (d *DB) Entry(ctx context.Context, ref token.Ref, tapID string) (account.Entry, error) {
	var rows []tap
	err := d.store.Read(ctx).Where("id = ? AND token_ref = ?", tapID, string(ref)).Limit(1).Find(&rows).Error
	if err != nil {
		return account.Entry{}, fmt.Errorf("reading a tap: %w", err)
	}
	if len(rows) == 0 {
		return account.Entry{}, account.ErrNoTap
	}
	return rows[0].entry()
}
