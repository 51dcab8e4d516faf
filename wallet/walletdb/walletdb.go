// Package walletdb keeps sealed bundles in the database, so that a handset that
// asks again gets the same bytes.
package walletdb

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
)

// operation names bundle making in the table of attempts.
const operation = "bundle"

// DB is a [wallet.Store] on a database. It is safe for concurrent use.
type DB struct{ store *store.DB }

// New returns the store of bundles in db, which has been migrated.
func New(db *store.DB) *DB { return &DB{db} }

type row struct {
	ID        string `gorm:"primaryKey"`
	TokenRef  string
	Client    string
	JWE       string `gorm:"column:jwe"`
	Slots     int
	CtrFirst  int
	NotAfter  int64
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	AckedAt   int64
	Device    string
	PinEpoch  int64
	HwKey     string
	Scripts   int64
}

// TableName is the table.
func (row) TableName() string { return "bundles" }

func (r row) bundle() wallet.Bundle {
	return wallet.Bundle{ID: r.ID, Ref: token.Ref(r.TokenRef), JWE: r.JWE, Slots: r.Slots,
		CtrFirst: uint16(r.CtrFirst), NotAfter: time.UnixMilli(r.NotAfter).UTC(),
		Device: token.DeviceID(r.Device), PINEpoch: uint32(r.PinEpoch), Hardware: r.HwKey}
}

func toRow(caller string, b wallet.Bundle, at time.Time) row {
	return row{ID: b.ID, TokenRef: string(b.Ref), Client: caller, JWE: b.JWE, Slots: b.Slots,
		CtrFirst: int(b.CtrFirst), NotAfter: b.NotAfter.UnixMilli(), CreatedAt: at.UnixMilli(),
		Device: string(b.Device), PinEpoch: int64(b.PINEpoch), HwKey: b.Hardware}
}

// Find implements [wallet.Store].
func (d *DB) Find(ctx context.Context, caller string, a access.Attempt) (wallet.Bundle, bool, error) {
	id, err := store.Prior(d.store.Read(ctx), caller, a, operation)
	if err != nil || id == "" {
		return wallet.Bundle{}, false, err
	}
	b, err := d.Bundle(ctx, id)
	return b, err == nil, err
}

// Insert implements [wallet.Store].
func (d *DB) Insert(ctx context.Context, caller string, a access.Attempt, b wallet.Bundle, at time.Time) (wallet.Bundle, error) {
	stored := b
	err := d.store.Tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, operation, b.ID)
		if err != nil {
			return err
		}
		if prior != "" {
			stored, err = find(tx, prior)
			return err
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

// Bundle implements [wallet.Store].
func (d *DB) Bundle(ctx context.Context, id string) (wallet.Bundle, error) {
	return find(d.store.Read(ctx), id)
}

// Acknowledge implements [wallet.Store]. The first moment stays.
func (d *DB) Acknowledge(ctx context.Context, id string, at time.Time) error {
	return d.store.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&row{}).Where("id = ? AND acked_at = 0", id).Update("acked_at", at.UnixMilli())
		if done.Error != nil || done.RowsAffected == 1 {
			return done.Error
		}
		_, err := find(tx, id)
		return err
	})
}

func find(db *gorm.DB, id string) (wallet.Bundle, error) {
	var rows []row
	if err := db.Where("id = ?", id).Limit(1).Find(&rows).Error; err != nil {
		return wallet.Bundle{}, fmt.Errorf("reading bundle: %w", err)
	}
	if len(rows) == 0 {
		return wallet.Bundle{}, wallet.ErrUnknown
	}
	return rows[0].bundle(), nil
}
