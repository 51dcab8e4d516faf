package account

import (
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/token"
)

// errBroken reports money that is not where it has to be: a fault of this
// program.
var errBroken = errors.New("an invariant of the ledger is broken")

// Invariants checks what must hold of a wallet after every step:
//
//   - no account is below nothing;
//   - the reserve is what its slots hold, no more and no less;
//   - what slots can still cost is covered by the reserve, but for credit;
//   - without credit, nothing is owed and no slot is credit;
//   - credit and debts stay inside the allowance, or inside what was agreed when
//     they were made;
//   - what its tokens can still cost stays under the ceiling of its tier;
//   - a closed wallet has nothing, holds nothing and can cost nothing: what reaches
//     it is paid out in the step that brings it.
//
// Nobody can lose money, then, but by a slot that pays twice.
func Invariants(f Funds) error {
	b := f.Balances
	if b.Available < 0 || b.Reserve < 0 || b.Due < 0 || b.CardLoad < 0 {
		return fmt.Errorf("%w: an account is below nothing: %+v", errBroken, b)
	}
	var held, credit token.Amount
	open := 0
	for _, l := range f.Lots {
		if !l.Posted.Free {
			open++
			held += l.Held
			credit += l.Credit()
		}
	}
	switch authority := f.Authority(""); {
	case int64(held) != b.Reserve:
		return fmt.Errorf("%w: slots hold %d, the reserve is %d", errBroken, held, b.Reserve)
	case int64(authority) > b.Reserve+int64(credit):
		return fmt.Errorf("%w: slots can cost %d, held are %d and credit %d", errBroken, authority, b.Reserve, credit)
	case !f.Wallet.RealName && (credit > 0 || b.Due > 0):
		return fmt.Errorf("%w: credit %d and debt %d of a holder without a name", errBroken, credit, b.Due)
	case f.Wallet.State == WalletClosed && (b.Available != 0 || b.Reserve != 0 || b.CardLoad != 0 || authority != 0 || open != 0):
		return fmt.Errorf("%w: a closed wallet has %+v and %d open slots that can cost %d", errBroken, b, open, authority)
	case f.Wallet.Ceiling > 0 && authority > f.Wallet.Ceiling:
		return fmt.Errorf("%w: slots can cost %d, over the ceiling of %d", errBroken, authority, f.Wallet.Ceiling)
	}
	return nil
}
