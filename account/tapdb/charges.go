package tapdb

import (
	"fmt"
	"strconv"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// chargeRow is a row of what was asked to be charged.
type chargeRow struct {
	Wallet string `gorm:"primaryKey"`
	Asked  int64  // of all debts that the wallet ever had
}

// TableName is the table.
func (chargeRow) TableName() string { return "wallet_charges" }

// chargeDue asks the requestor to charge what the holder owes to the holder's
// card, each debt once: what was asked for and is not paid yet is under way. tx
// has changed the wallet, so that nobody else asks at the same time.
func (d *DB) chargeDue(tx *gorm.DB, w account.Wallet, due int64) error {
	if due == 0 || !w.Card {
		return nil
	}
	had, err := debts(tx, w.ID)
	if err != nil {
		return err
	}
	var rows []chargeRow
	if err := tx.Where("wallet = ?", string(w.ID)).Find(&rows).Error; err != nil {
		return fmt.Errorf("reading what was asked to be charged: %w", err)
	}
	asked := int64(0)
	if len(rows) > 0 {
		asked = rows[0].Asked
	}
	amount := min(due, had-asked)
	if amount <= 0 {
		return nil
	}
	if err := ask(tx, w.ID, had); err != nil {
		return err
	}
	return d.emit(tx, event.Event{Type: event.ChargeRequested, Wallet: w.ID, Requestor: w.Requestor,
		Data: map[string]string{"amount": strconv.FormatInt(amount, 10)}})
}

// chargeAgain lets the next sync ask for all that is owed: what was under way
// failed. tx has changed the wallet.
func chargeAgain(tx *gorm.DB, w token.WalletID, due int64) error {
	had, err := debts(tx, w)
	if err != nil {
		return err
	}
	return ask(tx, w, had-due)
}

// debts adds up all debts that a wallet ever had, paid or not.
func debts(tx *gorm.DB, w token.WalletID) (had int64, err error) {
	err = tx.Raw("SELECT COALESCE(SUM(amount), 0) FROM ledger_entries WHERE wallet = ? AND from_account = ?",
		string(w), string(ledger.Due)).Scan(&had).Error
	if err != nil {
		return 0, fmt.Errorf("adding up debts: %w", err)
	}
	return had, nil
}

func ask(tx *gorm.DB, w token.WalletID, asked int64) error {
	set := clause.OnConflict{Columns: []clause.Column{{Name: "wallet"}}, DoUpdates: clause.AssignmentColumns([]string{"asked"})}
	if err := tx.Clauses(set).Create(&chargeRow{string(w), asked}).Error; err != nil {
		return fmt.Errorf("keeping what was asked to be charged: %w", err)
	}
	return nil
}
