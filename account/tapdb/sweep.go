package tapdb

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/internal/store"
)

// swept bounds how many tokens one transaction of a sweep is about.
const swept = 50

// Release implements [account.Postings].
func (d *DB) Release(ctx context.Context, endedBefore time.Time) (int, error) {
	return d.sweep(ctx, "released = ? AND not_after <= ?", []any{false, endedBefore.UnixMilli()},
		func(l *account.Lot) *found { l.Released = true; return nil })
}

// Refund implements [account.Postings].
func (d *DB) Refund(ctx context.Context, endedBefore time.Time) (int, error) {
	return d.sweep(ctx, "released = ? AND refunded = ? AND not_after <= ?", []any{true, false, endedBefore.UnixMilli()},
		func(l *account.Lot) *found {
			l.Refunded = true
			e, used := l.Paid()
			if !used || e.Status() != "PHONE_ONLY" {
				return nil
			}
			return &found{detect.New(detect.PhoneOnly, l.Ref, l.Ctr(), e.Tap.Terminal), l.Wallet}
		})
}

// sweep changes slots that a condition finds, some tokens at a time, or each by itself
// ([store.Sweep]): what cannot be read of one token must not hold back the money of the
// others.
func (d *DB) sweep(ctx context.Context, where string, args []any, fn func(*account.Lot) *found) (n int, err error) {
	page := func(after store.Place) (due []store.Place, err error) {
		q := d.store.Read(ctx).Model(&lotRow{}).Distinct("not_after AS at", "token_ref AS name").Where(where, args...)
		q = q.Where("(not_after, token_ref) > (?, ?)", after.At, after.Name)
		return due, q.Order("not_after, token_ref").Limit(swept).Find(&due).Error
	}
	n, err = store.Sweep(page, func(refs []string) (int, error) { return d.sweepSome(ctx, refs, where, args, fn) })
	if err != nil {
		err = fmt.Errorf("slots of %w", err)
	}
	return n, err
}

// sweepSome changes slots of some tokens in one transaction.
func (d *DB) sweepSome(ctx context.Context, refs []string, where string, args []any, fn func(*account.Lot) *found) (n int, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		set, err := lots(tx, "token_ref IN ? AND "+where, append([]any{refs}, args...)...)
		if err != nil {
			return err
		}
		var signals []found
		for _, l := range set.all {
			if s := fn(l); s != nil {
				signals = append(signals, *s)
			}
		}
		n = len(set.all)
		if err := d.settle(tx, set); err != nil {
			return err
		}
		return saveSignals(tx, signals, d.now())
	})
	return n, err
}
