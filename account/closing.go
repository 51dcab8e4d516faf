package account

import (
	"slices"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/token"
)

// PaysOut is the purpose of transfers that give a holder of a closed wallet what
// is left.
const PaysOut = "payout"

// Closes says how the wallet is closed: what is free is paid out. It cannot be
// while anything is held, owed or on its way to a card, or while a slot may still
// pay: one that is all credit holds nothing.
func (f Funds) Closes() ([]ledger.Transfer, error) {
	b := f.Balances
	open := slices.ContainsFunc(f.Lots, func(l *Lot) bool { return !l.Posted.Free })
	if b.Reserve != 0 || b.Due != 0 || b.CardLoad != 0 || open || f.Authority("") != 0 {
		return nil, ErrState
	}
	if b.Available == 0 {
		return nil, nil
	}
	return []ledger.Transfer{f.payout(string(f.Wallet.ID), b.Available)}, nil
}

// Arrives is what follows when something else than a slot has brought money to
// the account: what is owed is paid back first, and a closed wallet keeps none of
// the rest. What brought it has a name of its own.
func (f Funds) Arrives(what string) (moves []ledger.Transfer) {
	back := min(f.Balances.Available, f.Balances.Due)
	if back > 0 {
		moves = append(moves, ledger.Transfer{Purpose: "repay", Key: what, Wallet: f.Wallet.ID,
			From: ledger.Available, To: ledger.Due, Amount: token.Amount(back)})
	}
	if rest := f.Balances.Available - back; rest > 0 && f.Wallet.State == WalletClosed {
		moves = append(moves, f.payout(what, rest))
	}
	return moves
}

func (f Funds) payout(what string, fen int64) ledger.Transfer {
	return ledger.Transfer{Purpose: PaysOut, Key: what, Wallet: f.Wallet.ID, From: ledger.Available, To: ledger.ExternalCash, Amount: token.Amount(fen)}
}

// Repaid reports whether w was held back for a debt that is paid now.
func (w Wallet) Repaid(before, after ledger.Balances) bool {
	return before.Due > 0 && after.Due == 0 && slices.Contains(w.Holds, HoldCharge)
}
