package tapdb

import (
	"maps"
	"slices"
	"strconv"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/token"
)

// Arrived does what follows when another store has brought money to a wallet's
// account, as part of its transaction. What brought it has a name of its own.
func (d *DB) Arrived(tx *gorm.DB, id token.WalletID, what string) error {
	f, err := d.funds(tx, id)
	if err != nil {
		return err
	}
	moves := f.Arrives(what)
	if len(moves) == 0 {
		return nil
	}
	if err := ledgerdb.Post(tx, f.Now, moves...); err != nil {
		return err
	}
	after, err := ledgerdb.Balances(tx, id)
	if err != nil {
		return err
	}
	return d.moved(tx, map[token.WalletID]account.Wallet{id: f.Wallet}, map[token.WalletID]ledger.Balances{id: f.Balances}, after, moves)
}

// moved does to wallets what follows from transfers, and tells of it: a debt that
// is paid holds nothing back, and of a closed wallet, which syncs no more, a debt
// is charged and money is paid out as soon as it is there.
func (d *DB) moved(tx *gorm.DB, wallets map[token.WalletID]account.Wallet, before, after map[token.WalletID]ledger.Balances, moves []ledger.Transfer) error {
	out := paidOut(moves)
	for _, id := range slices.Sorted(maps.Keys(wallets)) {
		w := wallets[id]
		repaid := w.Repaid(before[id], after[id])
		owes := w.State == account.WalletClosed && after[id].Due > before[id].Due
		if !repaid && !owes && out[id] == 0 {
			continue
		}
		w, err := d.change(tx, id, func(w *account.Wallet) {
			if repaid {
				w.Settled(d.now())
			}
		})
		if err != nil {
			return err
		}
		if owes {
			if err := d.chargeDue(tx, w, after[id].Due); err != nil {
				return err
			}
		}
		if err := d.tellPaid(tx, w, out[id]); err != nil {
			return err
		}
	}
	return nil
}

// paidOut adds up what transfers pay out, by wallet.
func paidOut(moves []ledger.Transfer) map[token.WalletID]token.Amount {
	out := make(map[token.WalletID]token.Amount)
	for _, m := range moves {
		if m.Purpose == account.PaysOut {
			out[m.Wallet] += m.Amount
		}
	}
	return out
}

// tellPaid tells the requestor what the holder of a closed wallet is to be paid.
func (d *DB) tellPaid(tx *gorm.DB, w account.Wallet, fen token.Amount) error {
	if fen == 0 {
		return nil
	}
	return d.emit(tx, event.Event{Type: event.PaidOut, Wallet: w.ID, Requestor: w.Requestor,
		Data: map[string]string{"amount": strconv.FormatUint(uint64(fen), 10)}})
}
