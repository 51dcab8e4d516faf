package account_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
)

// TestAWalletHoldsNoMoreThanCanBeTold: money that would take a wallet past the
// largest balance is refused, and all that came in before is told, and paid out.
func TestAWalletHoldsNoMoreThanCanBeTold(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(0, account.Opening{})
	const most = 10_000_000 // of one event
	var in int64
	for i := 0; ; i++ {
		h := account.Happening{ID: fmt.Sprintf("much-%d", i), Kind: account.TopUp, Amount: most}
		if i%2 == 1 {
			h.Kind = account.Refund
		}
		told, err := l.Happen(t.Context(), bank, w, h)
		if errors.Is(err, account.ErrHolds) {
			break
		}
		if in += most; err != nil || int64(told.Available) != in {
			t.Fatalf("%d fen came in, %d are told: %v", in, told.Available, err)
		}
	}
	if in != 1_000_000_000 {
		t.Errorf("it is full with %d fen", in)
	}
	if b := l.happen(w, account.WebSpend, 1); int64(b.Available) != in-1 {
		t.Errorf("%d of %d fen are left", b.Available, in-1)
	}
	l.happen(w, account.TopUp, 1)
	if _, err := l.Close(t.Context(), bank, w, accessNone); err != nil {
		t.Fatal(err)
	}
	if left := l.sums(w)[ledger.Available]; left != 0 {
		t.Errorf("a closed wallet has %d fen", left)
	}
	l.invariants()
}
