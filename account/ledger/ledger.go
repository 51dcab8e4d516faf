// Package ledger is the double entry of wallets: which accounts there are, what
// a transfer is, and when it may be made.
//
// Amounts are whole fen. A transfer moves an amount from one account to
// another, so all accounts together are always nothing, and what all others
// hold is what came in from outside. Nothing is ever changed or deleted: a
// mistake is mended by another transfer.
package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Account is one account. The first four exist once for each wallet, the others
// once.
type Account string

// Accounts. OVERDRAFT_DUE is what the holder owes: a transfer from it lends, one
// to it pays back. The shared accounts may stand on either side of nothing.
const (
	Available Account = "AVAILABLE"       // free to spend
	Reserve   Account = "OFFLINE_RESERVE" // held for slots that may still pay
	Due       Account = "OVERDRAFT_DUE"   // owed by the holder
	CardLoad  Account = "CARD_LOAD"       // on its way to a physical card, or back

	OperatorPayable Account = "OPERATOR_PAYABLE" // owed to those who gave service
	FraudLoss       Account = "FRAUD_LOSS"       // paid for second uses of a slot
	Suspense        Account = "SUSPENSE"         // a phone says paid, no terminal does yet
	ExternalCash    Account = "EXTERNAL_CASH"    // the world: top-ups come from it, web spending goes to it
)

// OfWallet lists the accounts that each wallet has, and Shared the others.
var (
	OfWallet = []Account{Available, Reserve, Due, CardLoad}
	Shared   = []Account{OperatorPayable, FraudLoss, Suspense, ExternalCash}
)

// Errors.
var (
	// ErrInvalid reports a transfer that means nothing: a mistake of the program.
	ErrInvalid = fault.New(fault.Internal, "a transfer is not fit to be posted")
	// ErrFunds reports a transfer that would bring an account of a wallet below
	// nothing.
	ErrFunds = fault.New(fault.FundsShort, "the account does not hold enough")
)

// ForCards begins the purposes of transfers that orders to cards make.
const ForCards = "card-"

// Transfer moves an amount between two accounts of one wallet, or between one
// of them and a shared account, or between two shared accounts on its behalf.
type Transfer struct {
	Purpose string // what for: a word in lower case
	Key     string // what it is about: a token reference, or the id of an event
	Ctr     uint16 // of the slot, where Key is a token's reference
	N       int    // counts the transfers of one purpose about one thing
	Wallet  token.WalletID
	From    Account
	To      Account
	Amount  token.Amount // more than 0
	Party   string       // to whom OPERATOR_PAYABLE is owed, or ""
}

// ID names the transfer by what it is for, so that posting it again finds it.
func (t Transfer) ID() string {
	var n [10]byte
	binary.BigEndian.PutUint16(n[:], t.Ctr)
	binary.BigEndian.PutUint64(n[2:], uint64(t.N))
	sum := sha256.Sum256(append([]byte("ledger\x00"+t.Purpose+"\x00"+t.Key+"\x00"), n[:]...))
	return hex.EncodeToString(sum[:16])
}

// Check refuses a transfer that means nothing.
func (t Transfer) Check() error {
	known := func(a Account) bool { return slices.Contains(OfWallet, a) || slices.Contains(Shared, a) }
	switch {
	case t.Amount == 0:
		return fmt.Errorf("%w: it moves nothing", ErrInvalid)
	case t.Purpose == "" || t.Key == "" || t.N < 0:
		return fmt.Errorf("%w: it has no name", ErrInvalid)
	case !t.Wallet.Valid():
		return fmt.Errorf("%w: it names no wallet", ErrInvalid)
	case !known(t.From) || !known(t.To) || t.From == t.To:
		return fmt.Errorf("%w: its accounts", ErrInvalid)
	}
	return nil
}

// Balances are the accounts of one wallet, none of them below 0. Due counts
// what is owed.
type Balances struct{ Available, Reserve, Due, CardLoad int64 }

// Cash is what the wallet's holder would be paid out, or would have to pay.
func (b Balances) Cash() int64 { return b.Available + b.Reserve + b.CardLoad - b.Due }

// Apply returns the balances after t, or [ErrFunds] when one would fall below 0.
func (b Balances) Apply(t Transfer) (Balances, error) {
	b.add(t.From, -int64(t.Amount))
	b.add(t.To, int64(t.Amount))
	for _, v := range []int64{b.Available, b.Reserve, b.Due, b.CardLoad} {
		if v < 0 || v > math.MaxInt64/2 {
			return Balances{}, ErrFunds
		}
	}
	return b, nil
}

// add moves one account; shared ones are nobody's balance.
func (b *Balances) add(a Account, n int64) {
	switch a {
	case Available:
		b.Available += n
	case Reserve:
		b.Reserve += n
	case Due:
		b.Due -= n
	case CardLoad:
		b.CardLoad += n
	}
}
