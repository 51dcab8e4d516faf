package walletdb

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/pin"
)

// opPIN names the setting of a PIN in the table of attempts.
const opPIN = "pin"

// PINs is a [pin.Store] and its [pin.Tries] on a database. It is safe for
// concurrent use.
type PINs struct{ store *store.DB }

// NewPINs returns the store of PINs in db, which has been migrated.
func NewPINs(db *store.DB) *PINs { return &PINs{db} }

type pinRow struct {
	Wallet      string `gorm:"primaryKey"`
	Epoch       int64
	Secret      []byte
	Verifier    []byte
	Tries       int
	LastSuccess int64
	Revoking    int
	Resettable  int
	ChangedAt   int64
}

// TableName is the table.
func (pinRow) TableName() string { return "pins" }

func (r pinRow) record() (pin.Record, error) {
	if len(r.Verifier) != 32 {
		return pin.Record{}, fmt.Errorf("reading PIN of a wallet: its verifier is damaged")
	}
	return pin.Record{Wallet: token.WalletID(r.Wallet), Epoch: uint32(r.Epoch), Secret: r.Secret, Verifier: [32]byte(r.Verifier),
		Tries: r.Tries, LastSuccess: time.UnixMilli(r.LastSuccess).UTC(), Revoking: r.Revoking == 1, Resettable: r.Resettable == 1}, nil
}

// Record implements [pin.Store].
func (p *PINs) Record(ctx context.Context, w token.WalletID) (pin.Record, error) {
	r, found, err := findPIN(p.store.Read(ctx), w)
	if err == nil && !found {
		err = wallet.ErrRefused
	}
	if err != nil {
		return pin.Record{}, err
	}
	return r.record()
}

func findPIN(db *gorm.DB, w token.WalletID) (pinRow, bool, error) {
	var rows []pinRow
	if err := db.Where("wallet = ?", string(w)).Limit(1).Find(&rows).Error; err != nil {
		return pinRow{}, false, fmt.Errorf("reading PIN of a wallet: %w", err)
	}
	if len(rows) == 0 {
		return pinRow{}, false, nil
	}
	return rows[0], true, nil
}

// Put implements [pin.Store].
func (p *PINs) Put(ctx context.Context, caller string, a access.Attempt, r pin.Record) (done bool, err error) {
	row := pinRow{Wallet: string(r.Wallet), Epoch: int64(r.Epoch), Secret: r.Secret, Verifier: r.Verifier[:],
		LastSuccess: r.LastSuccess.UnixMilli(), ChangedAt: r.LastSuccess.UnixMilli()}
	if r.Revoking {
		row.Revoking = 1
	}
	success, err := p.success(ctx, r.LastSuccess)
	if err != nil {
		return false, err
	}
	err = p.store.Tx(ctx, func(tx *gorm.DB) error {
		prior, err := store.Once(tx, caller, a, opPIN, string(r.Wallet)+"."+strconv.Itoa(int(r.Epoch)))
		if done = prior != ""; err != nil || done {
			return err
		}
		old, found, err := findPIN(tx, r.Wallet)
		switch {
		case err != nil:
			return err
		case !found && r.Epoch == 1:
			return tx.Create(&row).Error
		case !found || old.Epoch != row.Epoch-1:
			return wallet.ErrRefused
		}
		return tx.Model(&pinRow{}).Where("wallet = ? AND epoch = ?", row.Wallet, old.Epoch).Updates(map[string]any{
			"epoch": row.Epoch, "secret": row.Secret, "verifier": row.Verifier, "tries": 0, "last_success": success,
			"revoking": row.Revoking, "resettable": 0, "changed_at": row.ChangedAt}).Error
	})
	return done, err
}

// Done implements [pin.Store].
func (p *PINs) Done(ctx context.Context, caller string, a access.Attempt) (bool, error) {
	prior, err := store.Prior(p.store.Read(ctx), caller, a, opPIN)
	return prior != "", err
}

// set changes one column of a wallet's row.
func (p *PINs) set(ctx context.Context, column string, value any, where string, args ...any) (changed bool, err error) {
	err = p.store.Tx(ctx, func(tx *gorm.DB) error {
		done := tx.Model(&pinRow{}).Where(where, args...).Update(column, value)
		changed = done.RowsAffected == 1
		return done.Error
	})
	return changed, err
}

// Revoked implements [pin.Store].
func (p *PINs) Revoked(ctx context.Context, w token.WalletID, epoch uint32) error {
	_, err := p.set(ctx, "revoking", 0, "wallet = ? AND epoch = ?", string(w), int64(epoch))
	return err
}

// AllowReset implements [pin.Store].
func (p *PINs) AllowReset(ctx context.Context, w token.WalletID) error {
	ok, err := p.set(ctx, "resettable", 1, "wallet = ?", string(w))
	if err == nil && !ok {
		err = wallet.ErrRefused
	}
	return err
}

// Take implements [pin.Tries].
func (p *PINs) Take(ctx context.Context, w token.WalletID, limit int) (bool, error) {
	return p.set(ctx, "tries", gorm.Expr("tries + 1"), "wallet = ? AND tries < ?", string(w), limit)
}

// GiveBack implements [pin.Tries].
func (p *PINs) GiveBack(ctx context.Context, w token.WalletID) error {
	_, err := p.set(ctx, "tries", gorm.Expr("tries - 1"), "wallet = ? AND tries > 0", string(w))
	return err
}

// Clear implements [pin.Tries].
func (p *PINs) Clear(ctx context.Context, w token.WalletID, at time.Time) error {
	success, err := p.success(ctx, at)
	if err != nil {
		return err
	}
	return p.store.Tx(ctx, func(tx *gorm.DB) error {
		return tx.Model(&pinRow{}).Where("wallet = ?", string(w)).Updates(map[string]any{"tries": 0, "last_success": success}).Error
	})
}

// success is what to write for a right PIN of a moment. One that was given later by
// another process's clock stands: a process whose clock is behind would have wrong PINs
// counted that were forgotten. What is ahead of every clock was never right.
func (p *PINs) success(ctx context.Context, at time.Time) (any, error) {
	server, ok, err := p.store.Clock(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		server = at
	}
	return gorm.Expr("CASE WHEN last_success > ? AND last_success <= ? THEN last_success ELSE ? END",
		at.UnixMilli(), server.UnixMilli(), at.UnixMilli()), nil
}

// Since says when the right PIN of a wallet was last given online, and how many
// wrong ones were since. A wallet without a PIN has had none of either.
func (p *PINs) Since(ctx context.Context, w token.WalletID) (lastSuccess time.Time, onlineWrong int, err error) {
	r, found, err := findPIN(p.store.Read(ctx), w)
	if err != nil || !found {
		return time.Time{}, 0, err
	}
	return time.UnixMilli(r.LastSuccess).UTC(), r.Tries, nil
}
