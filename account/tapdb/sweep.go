package tapdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
)

// swept bounds how many tokens one transaction of a sweep is about, and told how many
// failures of a sweep are told of.
const (
	swept = 50
	told  = 8
)

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

// due is a token that is to be swept.
type due struct {
	NotAfter int64
	TokenRef string
}

// sweep changes slots that a condition finds, some tokens at a time. Where they fail
// together, each is swept by itself: what cannot be read of one token must not hold
// back the money of the others.
func (d *DB) sweep(ctx context.Context, where string, args []any, fn func(*account.Lot) *found) (n int, err error) {
	var errs []error
	for last := (due{NotAfter: -1}); ; {
		var page []due
		q := d.store.Read(ctx).Model(&lotRow{}).Distinct("not_after", "token_ref").Where(where, args...)
		q = q.Where("(not_after, token_ref) > (?, ?)", last.NotAfter, last.TokenRef)
		if err := q.Order("not_after, token_ref").Limit(swept).Find(&page).Error; err != nil || len(page) == 0 {
			return n, errors.Join(append(errs, err)...)
		}
		last = page[len(page)-1]
		refs := make([]string, len(page))
		for i, p := range page {
			refs[i] = p.TokenRef
		}
		k, err := d.sweepSome(ctx, refs, where, args, fn)
		n += k
		if err == nil {
			continue
		}
		for i := 0; i < len(refs) && !down(err); i++ {
			if k, err = d.sweepSome(ctx, refs[i:i+1], where, args, fn); err != nil && len(errs) < told {
				errs = append(errs, fmt.Errorf("slots of %s: %w", refs[i], err))
			}
			n += k
		}
		if err != nil && down(err) {
			return n, errors.Join(append(errs, err)...)
		}
	}
}

// down reports whether an error is the database's, and not that of what is swept.
func down(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrReadOnly)
}

// sweepSome changes slots of some tokens in one transaction.
func (d *DB) sweepSome(ctx context.Context, refs []string, where string, args []any, fn func(*account.Lot) *found) (n int, err error) {
	err = fault.Safely(func() error {
		return d.tx(ctx, func(tx *gorm.DB) error {
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
	})
	if err != nil {
		n = 0
	}
	return n, err
}
