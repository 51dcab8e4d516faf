package tapdb

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
)

// happeningRow is a row of something that happened to an account.
type happeningRow struct {
	Wallet  string `gorm:"primaryKey"`
	EventID string `gorm:"primaryKey"`
	Kind    string
	Amount  int64
	At      int64
}

// TableName is the table.
func (happeningRow) TableName() string { return "account_events" }

// Happen implements [account.Postings].
func (d *DB) Happen(ctx context.Context, id token.WalletID, h account.Happening) (f account.Funds, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		if f, err = d.funds(tx, id); err != nil {
			return err
		}
		known, err := happened(tx, id, h)
		if err != nil || known {
			return err
		}
		f, err = d.happen(tx, f, h)
		return err
	})
	if err != nil {
		return account.Funds{}, fmt.Errorf("posting an account event: %w", err)
	}
	return f, nil
}

// happened reports whether h took effect before.
func happened(tx *gorm.DB, id token.WalletID, h account.Happening) (bool, error) {
	var rows []happeningRow
	if err := tx.Where("wallet = ? AND event_id = ?", string(id), h.ID).Limit(1).Find(&rows).Error; err != nil {
		return false, fmt.Errorf("reading an account event: %w", err)
	}
	if len(rows) == 0 {
		return false, nil
	}
	if rows[0].Kind != string(h.Kind) || rows[0].Amount != int64(h.Amount) {
		return false, account.ErrHappeningReused
	}
	return true, nil
}

// happen makes h take effect, and asks the phone to sync if it then holds more
// than the account would give it.
func (d *DB) happen(tx *gorm.DB, before account.Funds, h account.Happening) (after account.Funds, err error) {
	moves, effect, err := before.Effect(h)
	if err != nil {
		return after, err
	}
	id := before.Wallet.ID
	row := happeningRow{string(id), h.ID, string(h.Kind), int64(h.Amount), before.Now.UnixMilli()}
	if err := tx.Create(&row).Error; err != nil {
		return after, err
	}
	if err := ledgerdb.Post(tx, before.Now, moves...); err != nil {
		return after, err
	}
	w, err := d.change(tx, id, effect)
	if err != nil {
		return after, err
	}
	if err := d.tellPaid(tx, w, paidOut(moves)[id]); err != nil {
		return after, err
	}
	if after, err = d.funds(tx, id); err != nil {
		return after, err
	}
	if h.Kind == account.ChargeFailed {
		if err := chargeAgain(tx, id, after.Balances.Due); err != nil {
			return after, err
		}
	}
	if !account.Fell(before, after) {
		return after, nil
	}
	return after, d.emit(tx, event.Event{Type: event.SyncRequested, Wallet: id, Requestor: w.Requestor})
}

// Lowering makes a change of a wallet's account that is another store's, as part
// of its transaction, and asks the phone to sync if it then holds more than the
// account would give it.
func (d *DB) Lowering(tx *gorm.DB, id token.WalletID, change func() error) error {
	before, err := d.funds(tx, id)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := d.funds(tx, id)
	if err != nil || !account.Fell(before, after) {
		return err
	}
	w, err := d.change(tx, id, func(*account.Wallet) {}) // takes the row, so that events of the wallet keep their order
	if err != nil {
		return err
	}
	return d.emit(tx, event.Event{Type: event.SyncRequested, Wallet: id, Requestor: w.Requestor})
}

// Close implements [account.Postings].
func (d *DB) Close(ctx context.Context, id token.WalletID, caller string, a access.Attempt) (w account.Wallet, err error) {
	err = d.tx(ctx, func(tx *gorm.DB) error {
		if _, err := store.Once(tx, caller, a, opWallet+":close", string(id)); err != nil {
			return err
		}
		f, err := d.funds(tx, id)
		if err != nil {
			return err
		}
		if w = f.Wallet; w.State == account.WalletClosed {
			return nil
		}
		out, err := f.Closes()
		if err != nil {
			return err
		}
		if err := ledgerdb.Post(tx, f.Now, out...); err != nil {
			return err
		}
		if w, err = d.change(tx, id, func(w *account.Wallet) { w.State, w.ChangedAt = account.WalletClosed, f.Now }); err != nil {
			return err
		}
		return d.tellPaid(tx, w, paidOut(out)[id])
	})
	if err != nil {
		return account.Wallet{}, fmt.Errorf("closing a wallet: %w", err)
	}
	return w, nil
}
