package account_test

import (
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
)

// TestPhoneOnlyReview: of taps that only the phone tells of, the third within
// thirty days opens a case. The wallet is as before.
func TestPhoneOnlyReview(t *testing.T) {
	l := newWalletLab(t)
	for n, cases := range []int{0, 0, 0, 1, 1, 1, 2} {
		w := l.open(10000, account.Opening{})
		tok := l.bind(w)
		slots := l.sync(w, tok.Ref, tierA).Grant.Slots
		l.vault.Clock.Add(time.Hour)
		var taps []account.Tap
		for i := range n {
			l.vault.Clock.Add(time.Minute)
			taps = append(taps, l.ride(tok, slots[i]))
		}
		l.vault.Clock.Add(time.Minute)
		l.sync(w, tok.Ref, tierA, words(slots, taps...)...)
		l.pass(tok.NotAfter.Add(7*24*time.Hour + time.Hour).Sub(l.vault.Clock.Now()))
		l.pass(0) // acts on what was found
		if got := len(l.signals(w)); got != n {
			t.Errorf("%d taps that no terminal told of: %d signals", n, got)
		}
		told := slices.DeleteFunc(l.told(w), func(s string) bool { return s != "case.opened" })
		if len(told) != cases || l.wallet(w).State != account.WalletActive {
			t.Errorf("%d taps that no terminal told of: %d cases, the wallet is %s", n, len(told), l.wallet(w).State)
		}
	}
}

// TestLowering: who takes money from an account for something else has its phone
// asked to sync, when that holds more than it would be given now.
func TestLowering(t *testing.T) {
	l := newWalletLab(t)
	w := l.open(2500, account.Opening{})
	tok := l.bind(w)
	if s := l.sync(w, tok.Ref, tierA); s.Grant == nil || len(s.Grant.Slots) != 2 {
		t.Fatalf("%+v", s)
	}
	move := func(n int, from, to ledger.Account) (asked bool) {
		before := len(l.told(w))
		err := l.db.Tx(t.Context(), func(tx *gorm.DB) error {
			return l.book.Lowering(tx, w, func() error {
				return ledgerdb.Post(tx, l.vault.Clock.Now(), ledger.Transfer{Purpose: "other", Key: "k", N: n, Wallet: w, From: from, To: to, Amount: 500})
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(l.told(w)[before:], "wallet.sync_requested")
	}
	if !move(0, ledger.Available, ledger.CardLoad) {
		t.Error("the phone was not asked")
	}
	if move(1, ledger.CardLoad, ledger.Available) {
		t.Error("the phone was asked when money came back")
	}
}
