package vault

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/hsm/keyref"
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
// many rows were done.
func (r *Rewrapper) Run(ctx context.Context, tell func(done int64)) error {
	var done int64
	for _, k := range r.v.kinds() {
		for {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("rewrapping: %w", err)
			}
			seen, n, err := k.batch(ctx)
			if err != nil {
				return fmt.Errorf("rewrapping: %w", err)
			}
			if seen == 0 {
				break
			}
			done += int64(n)
			tell(done)
		}
	}
	return nil
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
	batch  func(context.Context) (seen, done int, err error)
}

func (v *Vault) kinds() []kind {
	k := v.cfg.Keys
	return []kind{
		{"token_ranges", "kek_version < ?", []any{k.RangeKEK}, v.rewrapRanges},
		{"cards", olderCard, []any{k.Seal, k.Index}, v.rewrapCards},
		{"former_cards", olderCard, []any{k.Seal, k.Index}, v.rewrapFormer},
	}
}

const olderCard = "seal_version < ? OR index_version < ?"

// older reads a batch of rows of one table that are under an older version of
// one key. Each condition has an index of its own, so that a batch costs the
// same however many rows there are.
func older[row any](v *Vault, ctx context.Context, id string) (rows []row, err error) {
	for column, newest := range map[string]uint8{"seal_version": v.cfg.Keys.Seal, "index_version": v.cfg.Keys.Index} {
		err := v.cfg.DB.Read(ctx).Where(column+" < ?", newest).Order(column + ", " + id).Limit(rewrapBatch).Find(&rows).Error
		if err != nil || len(rows) > 0 {
			return rows, err
		}
	}
	return nil, nil
}

// rewrapCards brings a batch of cards up to date.
func (v *Vault) rewrapCards(ctx context.Context) (seen, done int, err error) {
	rows, err := older[cardRow](v, ctx, "id")
	if err != nil {
		return 0, 0, err
	}
	fresh := make([]cardRow, len(rows))
	for i, old := range rows {
		pan, expiry, err := v.unseal(ctx, old)
		if err != nil {
			return 0, 0, err
		}
		p, err := v.cardPrint(ctx, v.cfg.Keys.Index, pan)
		if err != nil {
			return 0, 0, err
		}
		fresh[i] = old
		fresh[i].PANIndex, fresh[i].IndexVersion, fresh[i].ExpiryTag = p.index(), p.version, p.tag(expiry)
		if err := v.seal(ctx, &fresh[i], pan, expiry); err != nil {
			return 0, 0, err
		}
	}
	done, err = v.swapAll(ctx, len(rows), func(tx *gorm.DB, i int) *gorm.DB {
		// The expiry tag says whether number and date are still those read.
		return tx.Model(&cardRow{}).Where("id = ? AND seal_version = ? AND index_version = ? AND expiry_tag = ?",
			rows[i].ID, rows[i].SealVersion, rows[i].IndexVersion, rows[i].ExpiryTag).
			Updates(map[string]any{"pan_index": fresh[i].PANIndex, "index_version": fresh[i].IndexVersion,
				"expiry_tag": fresh[i].ExpiryTag, "sealed": fresh[i].Sealed, "seal_version": fresh[i].SealVersion})
	})
	return len(rows), done, err
}

// rewrapFormer brings a batch of numbers that cards bore before up to date.
func (v *Vault) rewrapFormer(ctx context.Context) (seen, done int, err error) {
	rows, err := older[formerRow](v, ctx, "id")
	if err != nil {
		return 0, 0, err
	}
	fresh := make([]formerRow, len(rows))
	for i, old := range rows {
		pan, expiry, err := v.unsealFrom(ctx, old.ID, old.SealVersion, old.Sealed)
		if err != nil {
			return 0, 0, err
		}
		p, err := v.cardPrint(ctx, v.cfg.Keys.Index, pan)
		if err != nil {
			return 0, 0, err
		}
		fresh[i].PANIndex, fresh[i].IndexVersion, fresh[i].SealVersion = p.index(), p.version, v.cfg.Keys.Seal
		if fresh[i].Sealed, err = v.sealFor(ctx, old.ID, v.cfg.Keys.Seal, pan, expiry); err != nil {
			return 0, 0, err
		}
	}
	done, err = v.swapAll(ctx, len(rows), func(tx *gorm.DB, i int) *gorm.DB {
		return tx.Model(&formerRow{}).Where("id = ? AND seal_version = ? AND index_version = ?", rows[i].ID,
			rows[i].SealVersion, rows[i].IndexVersion).
			Updates(map[string]any{"pan_index": fresh[i].PANIndex, "index_version": fresh[i].IndexVersion,
				"sealed": fresh[i].Sealed, "seal_version": fresh[i].SealVersion})
	})
	return len(rows), done, err
}

// rewrapRanges brings the keys of token ranges under the newest wrapping key.
// The keys themselves never change: numbers hang on them.
func (v *Vault) rewrapRanges(ctx context.Context) (seen, done int, err error) {
	var rows []rangeRow
	newest := keyref.Ref{Usage: keyref.RangeKEK, Version: v.cfg.Keys.RangeKEK}
	if err := v.cfg.DB.Read(ctx).Where("kek_version < ?", newest.Version).Order("id").Limit(rewrapBatch).Find(&rows).Error; err != nil {
		return 0, 0, err
	}
	sealed := make([][]byte, len(rows))
	for i, r := range rows {
		key, err := v.cfg.HSM.Unseal(ctx, keyref.Ref{Usage: keyref.RangeKEK, Version: r.KEKVersion}, r.SealedKey, rangeAAD(r.toRange()))
		if err != nil {
			return 0, 0, fmt.Errorf("unwrapping the key of token range %s: %w", r.ID, err)
		}
		sealed[i], err = v.cfg.HSM.Seal(ctx, newest, key, rangeAAD(r.toRange()))
		clear(key)
		if err != nil {
			return 0, 0, fmt.Errorf("wrapping the key of token range %s: %w", r.ID, err)
		}
	}
	done, err = v.swapAll(ctx, len(rows), func(tx *gorm.DB, i int) *gorm.DB {
		return tx.Model(&rangeRow{}).Where("id = ? AND kek_version = ?", rows[i].ID, rows[i].KEKVersion).
			Updates(map[string]any{"sealed_key": sealed[i], "kek_version": newest.Version})
	})
	return len(rows), done, err
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
			if s.Error != nil {
				return fmt.Errorf("storing what was sealed anew: %w", s.Error)
			}
			done += int(s.RowsAffected)
		}
		return nil
	})
	return done, err
}
