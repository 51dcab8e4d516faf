package vault

import (
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Errors of keys that come to their end.
var (
	// ErrKeyInUse reports a version of a key that rows or the configuration need.
	ErrKeyInUse = fault.New(fault.HSMKey, "this version of the key is still needed: rewrap first")
	// ErrKeyRetired reports a process that would write under a version that was
	// retired: its configuration is older than the others'.
	ErrKeyRetired = fault.New(fault.HSMKey, "this version of the key was retired: configure the newer one and start again")
)

// retiredRow is a version of a key that nothing may be written under.
type retiredRow struct {
	Usage     string `gorm:"primaryKey;column:key_usage"`
	Version   uint8  `gorm:"primaryKey;autoIncrement:false"`
	RetiredAt int64
}

func (retiredRow) TableName() string { return "retired_keys" }

// Retire forbids every process to write under a version of a key, for good,
// and then says whether the key can go: it returns [ErrKeyInUse] while a row
// still needs it. It destroys nothing.
func (v *Vault) Retire(ctx context.Context, ref keyref.Ref) error {
	if err := v.MayRetire(ctx, ref); err != nil {
		return err
	}
	// Counted again where the version is listed: a transaction that did not see
	// it listed and writes a row under it cannot commit beside this one.
	var n int64
	err := v.cfg.DB.Tx(ctx, func(tx *gorm.DB) error {
		row := retiredRow{string(ref.Usage), ref.Version, v.cfg.Now().UnixMilli()}
		err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
		if err == nil {
			n, err = rowsUnder(tx, ref)
		}
		return err
	})
	return inUse(ref, n, err)
}

// MayRetire returns [ErrKeyInUse] for a version that [Vault.Retire] would refuse
// now. It changes nothing.
func (v *Vault) MayRetire(ctx context.Context, ref keyref.Ref) error {
	if slices.Contains(v.cfg.Keys.Refs(), ref) {
		return fmt.Errorf("retiring %v: %w", ref, ErrKeyInUse)
	}
	n, err := v.InUse(ctx, ref)
	return inUse(ref, n, err)
}

func inUse(ref keyref.Ref, n int64, err error) error {
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: %d rows are under it", ErrKeyInUse, n)
	}
	if err != nil {
		return fmt.Errorf("retiring %v: %w", ref, err)
	}
	return nil
}

// mayWrite refuses to write cards under a version that was retired. It is asked in
// the transaction that writes.
func (v *Vault) mayWrite(tx *gorm.DB) error {
	return notRetired(tx.Where("(key_usage = ? AND version = ?) OR (key_usage = ? AND version = ?)",
		string(keyref.PANSeal), v.cfg.Keys.Seal, string(keyref.PANIndex), v.cfg.Keys.Index))
}

// mayWrap is mayWrite of keys of ranges. One under a key that is destroyed would let no
// process start.
func (v *Vault) mayWrap(tx *gorm.DB) error {
	return notRetired(tx.Where("key_usage = ? AND version = ?", string(keyref.RangeKEK), v.cfg.Keys.RangeKEK))
}

// notRetired refuses what a row says that was retired.
func notRetired(rows *gorm.DB) error {
	var n int64
	err := rows.Model(&retiredRow{}).Count(&n).Error
	switch {
	case err != nil:
		return fmt.Errorf("asking for retired keys: %w", err)
	case n > 0:
		return ErrKeyRetired
	}
	return nil
}
