package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// Move does v to a token that is in state from, and returns the token as it
// then is. It changes nothing and returns [ErrConflict] when the token is in
// another state or when from refuses v, and [ErrNotFound] when there is no such
// token. The change is durable on return. Whoever suspends or resumes by Move
// does it for the sake of risk.
func (w *Writer) Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error) {
	return w.Change(ctx, token.Change{Ref: ref, From: from, Verb: v, At: at, By: token.ByRisk}, "", access.Attempt{})
}

// Moved returns the token that an earlier try of attempt a by caller did v to,
// as it is now; ok is false when there was none. A key that was used for
// something else is an error of kind [fault.KeyReused].
func (w *Writer) Moved(ctx context.Context, v token.Verb, caller string, a access.Attempt) (t token.Token, ok bool, err error) {
	return w.prior(ctx, opMove+string(v), caller, a)
}

// opMove begins the names of moves in the table of attempts.
const opMove = "tokens:"

// TakeCounters gives out the next n slot counters under the token's number and
// returns the first. They are spent for good, whatever becomes of them. It
// returns [ErrCountersSpent] when fewer are left, and [ErrNotFound] when there
// is no such token or its number has passed to another one.
func (w *Writer) TakeCounters(ctx context.Context, ref token.Ref, n int) (first uint16, err error) {
	if n < 1 || n > maxCtr {
		return 0, fmt.Errorf("taking %d counters: %w", n, ErrCountersSpent)
	}
	err = w.v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		first, err = takeCounters(tx, ref, n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("taking counters: %w", err)
	}
	return first, nil
}

// maxCtr is the last counter; a number whose next counter is maxCtr gives out
// no more.
const maxCtr = 65535

func takeCounters(tx *gorm.DB, ref token.Ref, n int) (uint16, error) {
	var row tokenRow
	err := tx.Where("ref = ?", string(ref)).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	if int(row.CtrNext)+n > maxCtr {
		return 0, ErrCountersSpent
	}
	next := row.CtrNext + uint16(n)
	// The number keeps the count too, for whoever bears it next.
	done := tx.Model(&numberRow{}).
		Where("range_id = ? AND serial = ? AND holder = ? AND next_ctr = ?", row.RangeID, row.Serial, row.Ref, row.CtrNext).
		Update("next_ctr", next)
	if done.Error == nil && done.RowsAffected != 1 {
		return 0, ErrNotFound
	}
	if done.Error != nil {
		return 0, done.Error
	}
	return row.CtrNext, tx.Model(&tokenRow{}).Where("ref = ?", row.Ref).Update("ctr_next", next).Error
}
