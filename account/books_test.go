package account_test

import (
	"slices"
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
)

// TestBooksOfAWallet: each balance of a wallet that is not what its transfers come to is
// named, also where another one makes up for it.
func TestBooksOfAWallet(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(700, account.Opening{RealName: true, Allowance: 5000})
	l.happen(w, account.CardBound, 0)
	l.happen(w, account.WebSpend, 1000)
	l.happen(l.open(500, account.Opening{}), account.WebSpend, 100)
	bad := func(want ...account.Mismatch) {
		t.Helper()
		r, err := l.Recon(t.Context(), operator, token.Day{Year: 2026, Month: 3, Day: 2})
		if err != nil || !slices.Equal(r.Mismatches, want) {
			t.Errorf("%+v, %v", r.Mismatches, err)
		}
	}
	name := func(a string) string { return string(w) + "/" + a }
	bad()
	l.spoil("UPDATE wallet_balances SET available = 40, reserve = 60, due = 400 WHERE wallet = ?", string(w))
	bad(account.Mismatch{What: "wallet", Name: name("AVAILABLE"), Found: 40}, account.Mismatch{What: "wallet", Name: name("OFFLINE_RESERVE"), Found: 60},
		account.Mismatch{What: "wallet", Name: name("OVERDRAFT_DUE"), Want: -300, Found: -400})
	l.spoil("UPDATE wallet_balances SET available = 0, reserve = 0, due = 300, card_load = 5 WHERE wallet = ?", string(w))
	bad(account.Mismatch{What: "wallet", Name: name("CARD_LOAD"), Found: 5})
	l.spoil("UPDATE wallet_balances SET card_load = 0 WHERE wallet = ?", string(w))
	bad()
}
