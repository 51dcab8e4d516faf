// Package ledgerdb keeps the ledger of wallets in the database, for stores that
// post to it inside transactions of their own.
package ledgerdb

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Errors.
var (
	// ErrNoWallet reports a wallet without accounts.
	ErrNoWallet = fault.New(fault.WalletUnknown, "no such wallet")
	// ErrOther reports a transfer whose name another one bears: a mistake of the
	// program, or two processes that post about one thing at once. Run again,
	// the transaction sees what the other did.
	ErrOther = fault.New(fault.Internal, "another transfer bears this name")
)

// balances is a row of a wallet's accounts.
type balances struct {
	Wallet    string `gorm:"primaryKey"`
	Available int64
	Reserve   int64
	Due       int64
	CardLoad  int64
}

// TableName is the table.
func (balances) TableName() string { return "wallet_balances" }

// entry is a row of a transfer.
type entry struct {
	ID          string `gorm:"primaryKey"`
	Purpose     string
	About       string
	Ctr         uint16
	N           int
	Wallet      string
	FromAccount string
	ToAccount   string
	Amount      int64
	Party       string
	PostedAt    int64
}

// TableName is the table.
func (entry) TableName() string { return "ledger_entries" }

// inOne bounds the values of one statement.
const inOne = 400

// Open gives a wallet its accounts, with nothing in them. A wallet that has
// them keeps what it has.
func Open(tx *gorm.DB, w token.WalletID) error {
	err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&balances{Wallet: string(w)}).Error
	if err != nil {
		return fmt.Errorf("opening accounts: %w", err)
	}
	return nil
}

// Post makes transfers in their order as part of tx: all of them, or none when
// it returns an error. A transfer that was posted before is left out, so posting
// the same again is harmless; its name with other contents is [ErrOther].
// [ErrNoWallet] says that a wallet has no accounts, and [ledger.ErrFunds] that
// one would fall below nothing: nothing was written then, and tx may go on.
func Post(tx *gorm.DB, at time.Time, transfers ...ledger.Transfer) error {
	fresh, err := unposted(tx, transfers)
	if err != nil || len(fresh) == 0 {
		return err
	}
	after, err := apply(tx, fresh)
	if err != nil {
		return err
	}
	rows := make([]entry, len(fresh))
	for i, t := range fresh {
		rows[i] = toEntry(t, at)
	}
	if err := tx.CreateInBatches(rows, inOne).Error; err != nil {
		return fmt.Errorf("posting transfers: %w", err)
	}
	return store(tx, after)
}

// unposted leaves out transfers that were posted before.
func unposted(tx *gorm.DB, transfers []ledger.Transfer) (fresh []ledger.Transfer, err error) {
	names := make(map[string]entry, len(transfers))
	ids := make([]string, len(transfers))
	for i, t := range transfers {
		if err := t.Check(); err != nil {
			return nil, fmt.Errorf("posting transfers: %w", err)
		}
		ids[i] = t.ID()
	}
	for part := range slices.Chunk(ids, inOne) {
		var rows []entry
		if err := tx.Where("id IN ?", part).Find(&rows).Error; err != nil {
			return nil, fmt.Errorf("looking for transfers: %w", err)
		}
		for _, r := range rows {
			names[r.ID] = r
		}
	}
	for i, t := range transfers {
		row := toEntry(t, time.Time{})
		was, known := names[ids[i]]
		if was.PostedAt = row.PostedAt; known && was != row {
			return nil, fmt.Errorf("posting transfers: %w", ErrOther)
		}
		if !known {
			fresh, names[ids[i]] = append(fresh, t), row
		}
	}
	return fresh, nil
}

// apply computes the balances after transfers.
func apply(tx *gorm.DB, transfers []ledger.Transfer) (map[token.WalletID]ledger.Balances, error) {
	wallets := make(map[token.WalletID]bool)
	for _, t := range transfers {
		wallets[t.Wallet] = true
	}
	now, err := Balances(tx, slices.Sorted(maps.Keys(wallets))...)
	if err != nil {
		return nil, err
	}
	for _, t := range transfers {
		b, ok := now[t.Wallet]
		if !ok {
			return nil, ErrNoWallet
		}
		if now[t.Wallet], err = b.Apply(t); err != nil {
			return nil, fmt.Errorf("posting transfers: %w", err)
		}
	}
	return now, nil
}

// store writes balances in the order of wallets, so that two processes never
// wait for each other in a circle.
func store(tx *gorm.DB, all map[token.WalletID]ledger.Balances) error {
	rows := make([]balances, 0, len(all))
	for _, w := range slices.Sorted(maps.Keys(all)) {
		b := all[w]
		rows = append(rows, balances{string(w), b.Available, b.Reserve, b.Due, b.CardLoad})
	}
	set := clause.OnConflict{Columns: []clause.Column{{Name: "wallet"}},
		DoUpdates: clause.AssignmentColumns([]string{"available", "reserve", "due", "card_load"})}
	if err := tx.Clauses(set).CreateInBatches(rows, inOne).Error; err != nil {
		return fmt.Errorf("moving balances: %w", err)
	}
	return nil
}

// Balances returns the accounts of those of the wallets that have any.
func Balances(db *gorm.DB, wallets ...token.WalletID) (map[token.WalletID]ledger.Balances, error) {
	all := make(map[token.WalletID]ledger.Balances, len(wallets))
	for part := range slices.Chunk(wallets, inOne) {
		var rows []balances
		if err := db.Where("wallet IN ?", part).Find(&rows).Error; err != nil {
			return nil, fmt.Errorf("reading balances: %w", err)
		}
		for _, r := range rows {
			all[token.WalletID(r.Wallet)] = ledger.Balances{Available: r.Available, Reserve: r.Reserve, Due: r.Due, CardLoad: r.CardLoad}
		}
	}
	return all, nil
}

// Sums adds up what stands in each account of the ledger, over all wallets or
// over one of them. They are always nothing together.
func Sums(db *gorm.DB, wallet token.WalletID) (map[ledger.Account]int64, error) {
	var rows []struct {
		Account string
		Total   int64
	}
	const q = `SELECT account, SUM(amount) AS total FROM (
		SELECT to_account AS account, amount FROM ledger_entries WHERE ? = '' OR wallet = ?
		UNION ALL SELECT from_account AS account, -amount FROM ledger_entries WHERE ? = '' OR wallet = ?) AS e GROUP BY account`
	w := string(wallet)
	if err := db.Raw(q, w, w, w, w).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("adding up the ledger: %w", err)
	}
	sums := make(map[ledger.Account]int64)
	for _, r := range rows {
		sums[ledger.Account(r.Account)] = r.Total
	}
	return sums, nil
}

func toEntry(t ledger.Transfer, at time.Time) entry {
	return entry{ID: t.ID(), Purpose: t.Purpose, About: t.Key, Ctr: t.Ctr, N: t.N, Wallet: string(t.Wallet),
		FromAccount: string(t.From), ToAccount: string(t.To), Amount: int64(t.Amount), Party: t.Party, PostedAt: at.UnixMilli()}
}
