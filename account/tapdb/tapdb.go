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
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// DB is an [account.Journal] on a database. Safe for concurrent use.
type DB struct {
	store *store.DB
	now   func() time.Time
}

// New returns the journal in db, which has been migrated. A nil now is
// time.Now.
func New(db *store.DB, now func() time.Time) *DB {
	if now == nil {
		now = time.Now
	}
	return &DB{db, now}
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
		return nil, fmt.Errorf("recording taps: %w", err)
	}
	return results, nil
}

// slotKey names a slot.
type slotKey struct {
	ref token.Ref
	ctr uint16
}

// slot is a slot before and after this upload.
type slot struct {
	account.Slot
	before map[string]account.Outcome // by tap id, as stored
}

// record loads the slots that the evidence is about, adds it, and stores what
// changed: first the records that lost their standing, so that no slot has two
// posted ones at any moment, then the rest.
func (d *DB) record(tx *gorm.DB, evidence []account.Evidence, refusals []account.Refusal) ([]account.Result, error) {
	slots := make(map[slotKey]*slot)
	fresh := make([]bool, len(evidence))
	refused := make(map[int]string)
	book := newBook(tx)
	for i, e := range evidence {
		k := slotKey{e.Ref, e.Tap.Seq}
		if slots[k] == nil {
			s, err := load(tx, k)
			if err != nil {
				return nil, err
			}
			slots[k] = s
		}
		reason, err := book.judge(e, slots[k])
		if err != nil {
			return nil, err
		}
		if reason != "" {
			refused[i] = reason
			refusals = append(refusals[:len(refusals):len(refusals)],
				account.Refusal{Ref: e.Ref, Tap: e.Tap, Reason: account.Reason(reason), Reporter: e.Reporter, Received: e.Received})
			continue
		}
		before := amount(slots[k])
		fresh[i] = slots[k].Add(e)
		book.move(e.Ref, before, amount(slots[k]))
	}
	if err := d.save(tx, slots); err != nil {
		return nil, err
	}
	if err := book.save(d.now()); err != nil {
		return nil, err
	}
	if err := refuse(tx, refusals); err != nil {
		return nil, err
	}
	results := make([]account.Result, len(evidence))
	for i, e := range evidence {
		if refused[i] != "" {
			results[i] = account.Result{Outcome: account.Rejected, Reason: account.NotAllowed, Control: refused[i]}
			continue
		}
		entry, _ := slots[slotKey{e.Ref, e.Tap.Seq}].Find(e.ID())
		results[i] = entry.Result()
		if !fresh[i] {
			results[i] = entry.Duplicate()
		}
	}
	return results, nil
}

func load(tx *gorm.DB, k slotKey) (*slot, error) {
	var rows []tap
	if err := tx.Where("token_ref = ? AND ctr = ?", string(k.ref), k.ctr).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading a slot: %w", err)
	}
	s := &slot{before: make(map[string]account.Outcome)}
	for _, r := range rows {
		e, err := r.entry()
		if err != nil {
			return nil, err
		}
		s.Entries = append(s.Entries, e)
		s.before[r.ID] = e.Outcome
	}
	return s, nil
}

// save stores new records and changed standings.
func (d *DB) save(tx *gorm.DB, slots map[slotKey]*slot) error {
	var insert []tap
	var demoted, promoted []account.Entry
	for _, s := range slots {
		for _, e := range s.Entries {
			switch was, stored := s.before[e.ID()]; {
			case !stored:
				insert = append(insert, toRow(e, d.now()))
			case was == e.Outcome:
			case was == account.Posted:
				demoted = append(demoted, e)
			default:
				promoted = append(promoted, e)
			}
		}
	}
	for _, e := range append(demoted, promoted...) {
		set := map[string]any{"outcome": string(e.Outcome), "changed_at": d.now().UnixMilli()}
		if err := tx.Model(&tap{}).Where("id = ?", e.ID()).Updates(set).Error; err != nil {
			return fmt.Errorf("changing a standing: %w", err)
		}
	}
	if len(insert) == 0 {
		return nil
	}
	if err := tx.CreateInBatches(insert, 100).Error; err != nil {
		return fmt.Errorf("inserting taps: %w", err)
	}
	return nil
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
