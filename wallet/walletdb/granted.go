package walletdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
)

// Put implements [wallet.Granted].
func (d *DB) Put(ctx context.Context, caller string, b wallet.Bundle, at time.Time) (wallet.Bundle, error) {
	stored := b
	err := d.store.Tx(ctx, func(tx *gorm.DB) error {
		stored = b
		there, err := find(tx, b.ID)
		if err == nil {
			stored = there
			return nil
		}
		if !errors.Is(err, wallet.ErrUnknown) {
			return err
		}
		var others int64
		err = tx.Model(&row{}).Where("token_ref = ? AND (device <> ? OR pin_epoch <> ?)", string(b.Ref), string(b.Device), int64(b.PINEpoch)).
			Limit(1).Count(&others).Error
		if err != nil {
			return fmt.Errorf("looking at a token's bundles: %w", err)
		}
		if others > 0 {
			return wallet.ErrRefused
		}
		r := toRow(caller, b, at)
		if err := tx.Create(&r).Error; err != nil {
			return fmt.Errorf("inserting bundle: %w", err)
		}
		return nil
	})
	if err != nil {
		return wallet.Bundle{}, err
	}
	return stored, nil
}

// Of implements [wallet.Granted].
func (d *DB) Of(ctx context.Context, ref token.Ref) ([]wallet.Bundle, error) {
	var rows []row
	if err := d.store.Read(ctx).Where("token_ref = ?", string(ref)).Order("ctr_first").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading a token's bundles: %w", err)
	}
	out := make([]wallet.Bundle, len(rows))
	for i, r := range rows {
		out[i] = r.bundle()
	}
	return out, nil
}

// NextScript implements [wallet.Granted].
func (d *DB) NextScript(ctx context.Context, id string) (n uint32, err error) {
	err = d.store.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&row{}).Where("id = ?", id).Update("scripts", gorm.Expr("scripts + 1"))
		if done.Error != nil {
			return done.Error
		}
		var rows []row
		if err := tx.Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil || len(rows) == 0 {
			return errors.Join(err, wallet.ErrUnknown)
		}
		n = uint32(rows[0].Scripts)
		return nil
	})
	return n, err
}
