package vault

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Rewrapper brings what the vault holds under the configured versions of its
// keys: card numbers under the newest seal and index, range keys under the
// newest wrapping key. It works beside any number of processes that serve, and
// may be killed at any moment: each row changes whole, and what is left is
// what is still under an older version.
type Rewrapper struct{ v *Vault }

// Rewrapper returns the right to seal anew. Card numbers pass through it, and
// out of it none comes.
func (v *Vault) Rewrapper() *Rewrapper { return &Rewrapper{v} }

// rewrapBatch is how many rows are changed in one transaction: few enough that
// nobody waits for it.
const rewrapBatch = 100

// Left counts the rows that are under an older version. It reads all of them.
func (r *Rewrapper) Left(ctx context.Context) (int64, error) {
	var all int64
	for _, k := range r.v.kinds() {
		var n int64
		if err := r.v.cfg.DB.Read(ctx).Table(k.table).Where(k.old, k.newest...).Count(&n).Error; err != nil {
			return 0, fmt.Errorf("counting what is left to rewrap: %w", err)
		}
		all += n
	}
	return all, nil
}

// Run rewraps until nothing is left, and calls tell after each batch with how
// many rows were done. One that cannot be read holds up no other, and is named in the error.
func (r *Rewrapper) Run(ctx context.Context, tell func(done int64)) error {
	var done int64
	var errs []error
	for _, k := range r.v.kinds() {
		failed, err := k.run(ctx, func(n int) { done += int64(n); tell(done) })
		if errs = append(errs, failed...); err != nil {
			return fmt.Errorf("rewrapping: %w", errors.Join(append(errs, err)...))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("rewrapping: %w", err)
	}
	return nil
}

// maxFailed bounds the rows of one kind that are passed over: if there are more, it is not
// one row that is damaged.
const maxFailed = 100

// run brings all rows of a kind up to date. failed are the errors of those that cannot be.
func (k kind) run(ctx context.Context, tell func(done int)) (failed []error, err error) {
	skip := []string{""}
	for {
		if err := ctx.Err(); err != nil {
			return failed, err
		}
		ids, err := k.older(ctx, skip)
		if err != nil || len(ids) == 0 {
			return failed, err
		}
		n, err := k.batch(ctx, ids)
		for i := 0; i < len(ids) && fault.IsUnreadable(err); i++ { // each by itself, then
			one, alone := k.batch(ctx, ids[i:i+1])
			if n += one; fault.IsUnreadable(alone) && len(failed) < maxFailed {
				failed, skip = append(failed, fmt.Errorf("a row of %s, %s: %w", k.table, ids[i], alone)), append(skip, ids[i])
			} else if alone != nil {
				return failed, alone
			}
			if i == len(ids)-1 {
				err = nil
			}
		}
		if err != nil {
			return failed, err
		}
		tell(n)
	}
}

// InUse counts the rows that need a version of a key to be read or found. A
// key that the vault does not use is needed by none.
func (v *Vault) InUse(ctx context.Context, ref keyref.Ref) (int64, error) {
	return rowsUnder(v.cfg.DB.Read(ctx), ref)
}

func rowsUnder(db *gorm.DB, ref keyref.Ref) (int64, error) {
	columns := map[keyref.Usage][][2]string{
		keyref.PANSeal:  {{"cards", "seal_version"}, {"former_cards", "seal_version"}},
		keyref.PANIndex: {{"cards", "index_version"}, {"former_cards", "index_version"}},
		keyref.RangeKEK: {{"token_ranges", "kek_version"}},
	}
	var all int64
	for _, c := range columns[ref.Usage] {
		var n int64
		if err := db.Table(c[0]).Where(c[1]+" = ?", ref.Version).Count(&n).Error; err != nil {
			return 0, fmt.Errorf("counting the rows under %v: %w", ref, err)
		}
		all += n
	}
	return all, nil
}

// kind is a kind of row that can be rewrapped.
type kind struct {
	table  string
	old    string // which rows are under an older version than
	newest []any
	// older names a batch of those rows, without some.
	older func(ctx context.Context, skip []string) (ids []string, err error)
	// batch brings rows up to date, all or none of them.
	batch func(ctx context.Context, ids []string) (done int, err error)
}

func (v *Vault) kinds() []kind {
	k := v.cfg.Keys
	ranges, cards := map[string]uint8{"kek_version": k.RangeKEK}, map[string]uint8{"seal_version": k.Seal, "index_version": k.Index}
	return []kind{
		{"token_ranges", "kek_version < ?", []any{k.RangeKEK}, v.older("token_ranges", ranges), v.rewrapRanges},
		{"cards", olderCard, []any{k.Seal, k.Index}, v.older("cards", cards), v.rewrapCards},
		{"former_cards", olderCard, []any{k.Seal, k.Index}, v.older("former_cards", cards), v.rewrapFormer},
	}
}

const olderCard = "seal_version < ? OR index_version < ?"

// older finds a batch of rows of one table that are under an older version of
// one key. Each condition has an index of its own, so that a batch costs the
// same however many rows there are.
func (v *Vault) older(table string, newest map[string]uint8) func(context.Context, []string) ([]string, error) {
	return func(ctx context.Context, skip []string) (ids []string, err error) {
		for column, version := range newest {
			err := v.cfg.DB.Read(ctx).Table(table).Where(column+" < ? AND id NOT IN ?", version, skip).
				Order(column+", id").Limit(rewrapBatch).Pluck("id", &ids).Error
			if err != nil || len(ids) > 0 {
				return ids, err
			}
		}
		return nil, nil
	}
}

// rowsNamed reads rows by their names.
func rowsNamed[row any](ctx context.Context, v *Vault, ids []string) (rows []row, err error) {
	return rows, v.cfg.DB.Read(ctx).Where("id IN ?", ids).Order("id").Find(&rows).Error
}

// damaged says of an error of opening what a row holds whether that is the row's: the HSM
// answers, and opens others.
func damaged(err error) error {
	if k := fault.KindOf(err); err != nil && (k == fault.Internal || k == fault.HSMKey) {
		return fault.Unreadable(err)
	}
	return err
}

// rewrapCards brings cards up to date.
func (v *Vault) rewrapCards(ctx context.Context, ids []string) (done int, err error) {
	rows, err := rowsNamed[cardRow](ctx, v, ids)
	if err != nil {
		return 0, err
	}
	fresh := make([]cardRow, len(rows))
	for i, old := range rows {
		pan, expiry, err := v.unseal(ctx, old)
		if err != nil {
			return 0, damaged(err)
		}
		p, err := v.cardPrint(ctx, v.cfg.Keys.Index, pan)
		if err != nil {
			return 0, err
		}
		fresh[i] = old
		fresh[i].PANIndex, fresh[i].IndexVersion, fresh[i].ExpiryTag = p.index(), p.version, p.tag(expiry)
		if err := v.seal(ctx, &fresh[i], pan, expiry); err != nil {
			return 0, err
		}
	}
	return v.swapAll(ctx, len(rows), func(tx *gorm.DB, i int) *gorm.DB {
		// The expiry tag says whether number and date are still those read.
		return tx.Model(&cardRow{}).Where("id = ? AND seal_version = ? AND index_version = ? AND expiry_tag = ?",
			rows[i].ID, rows[i].SealVersion, rows[i].IndexVersion, rows[i].ExpiryTag).
			Updates(map[string]any{"pan_index": fresh[i].PANIndex, "index_version": fresh[i].IndexVersion,
				"expiry_tag": fresh[i].ExpiryTag, "sealed": fresh[i].Sealed, "seal_version": fresh[i].SealVersion})
	})
}

// rewrapFormer brings numbers that cards bore before up to date.
func (v *Vault) rewrapFormer(ctx context.Context, ids []string) (done int, err error) {
	rows, err := rowsNamed[formerRow](ctx, v, ids)
	if err != nil {
		return 0, err
	}
	fresh := make([]formerRow, len(rows))
	for i, old := range rows {
		pan, expiry, err := v.unsealFrom(ctx, old.ID, old.SealVersion, old.Sealed)
		if err != nil {
			return 0, damaged(err)
		}
		p, err := v.cardPrint(ctx, v.cfg.Keys.Index, pan)
		if err != nil {
			return 0, err
		}
		fresh[i].PANIndex, fresh[i].IndexVersion, fresh[i].SealVersion = p.index(), p.version, v.cfg.Keys.Seal
		if fresh[i].Sealed, err = v.sealFor(ctx, old.ID, v.cfg.Keys.Seal, pan, expiry); err != nil {
			return 0, err
		}
	}
	return v.swapAll(ctx, len(rows), func(tx *gorm.DB, i int) *gorm.DB {
		return tx.Model(&formerRow{}).Where("id = ? AND seal_version = ? AND index_version = ?", rows[i].ID,
			rows[i].SealVersion, rows[i].IndexVersion).
			Updates(map[string]any{"pan_index": fresh[i].PANIndex, "index_version": fresh[i].IndexVersion,
				"sealed": fresh[i].Sealed, "seal_version": fresh[i].SealVersion})
	})
}

// rewrapRanges brings the keys of token ranges under the newest wrapping key.
// The keys themselves never change: numbers hang on them.
func (v *Vault) rewrapRanges(ctx context.Context, ids []string) (done int, err error) {
	rows, err := rowsNamed[rangeRow](ctx, v, ids)
	if err != nil {
		return 0, err
	}
	newest := keyref.Ref{Usage: keyref.RangeKEK, Version: v.cfg.Keys.RangeKEK}
	sealed := make([][]byte, len(rows))
	for i, r := range rows {
		key, err := v.cfg.HSM.Unseal(ctx, keyref.Ref{Usage: keyref.RangeKEK, Version: r.KEKVersion}, r.SealedKey, rangeAAD(r.toRange()))
		if err != nil {
			return 0, damaged(fmt.Errorf("unwrapping the key of token range %s: %w", r.ID, err))
		}
		sealed[i], err = v.cfg.HSM.Seal(ctx, newest, key, rangeAAD(r.toRange()))
		clear(key)
		if err != nil {
			return 0, fmt.Errorf("wrapping the key of token range %s: %w", r.ID, err)
		}
	}
	return v.swapAll(ctx, len(rows), func(tx *gorm.DB, i int) *gorm.DB {
		return tx.Model(&rangeRow{}).Where("id = ? AND kek_version = ?", rows[i].ID, rows[i].KEKVersion).
			Updates(map[string]any{"sealed_key": sealed[i], "kek_version": newest.Version})
	})
}

// swapAll runs n compare-and-swaps in one transaction and counts those that
// found their row as it was read. The others are met again if they need it.
func (v *Vault) swapAll(ctx context.Context, n int, swap func(tx *gorm.DB, i int) *gorm.DB) (done int, err error) {
	if n == 0 {
		return 0, nil
	}
	err = v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		done = 0
		if err := errors.Join(v.mayWrite(tx), v.mayWrap(tx)); err != nil {
			return err
		}
		for i := range n {
			s := swap(tx, i)
			if errors.Is(s.Error, gorm.ErrDuplicatedKey) { // one number of two rows
				return fault.Unreadable(fmt.Errorf("storing what was sealed anew: another row is of the same card number: %w", s.Error))
			}
			if s.Error != nil {
				return fmt.Errorf("storing what was sealed anew: %w", s.Error)
			}
			done += int(s.RowsAffected)
		}
		return nil
	})
	return done, err
}
