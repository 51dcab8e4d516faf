package ledgerdb_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func wallet(n byte) token.WalletID {
	return token.WalletID("wl" + strings.Repeat("A", 25) + string(rune('A'+n)))
}

func move(n int, w token.WalletID, from, to ledger.Account, fen token.Amount) ledger.Transfer {
	return ledger.Transfer{Purpose: "test", Key: string(w), N: n, Wallet: w, From: from, To: to, Amount: fen}
}

func post(t *testing.T, db *store.DB, ts ...ledger.Transfer) error {
	t.Helper()
	return db.Tx(t.Context(), func(tx *gorm.DB) error { return ledgerdb.Post(tx, at, ts...) })
}

func open(t *testing.T, db *store.DB, ws ...token.WalletID) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		for _, w := range ws {
			if err := ledgerdb.Open(tx, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func balance(t *testing.T, db *store.DB, w token.WalletID) ledger.Balances {
	t.Helper()
	all, err := ledgerdb.Balances(db.Read(t.Context()), w)
	if err != nil {
		t.Fatal(err)
	}
	return all[w]
}

func TestPost(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		db := fresh(t)
		a, b := wallet(0), wallet(1)
		open(t, db, a, b, a)
		in := move(0, a, ledger.ExternalCash, ledger.Available, 100)
		hold := move(1, a, ledger.Available, ledger.Reserve, 60)
		for range 2 { // the second time it is known
			if err := post(t, db, in, hold, in); err != nil {
				t.Fatal(err)
			}
			if got := balance(t, db, a); got != (ledger.Balances{Available: 40, Reserve: 60}) {
				t.Errorf("%+v", got)
			}
		}
		other := in
		other.Amount++
		if err := post(t, db, other); !errors.Is(err, ledgerdb.ErrOther) {
			t.Errorf("another transfer of the same name: %v", err)
		}
		if err := post(t, db, move(2, wallet(9), ledger.ExternalCash, ledger.Available, 1)); !errors.Is(err, ledgerdb.ErrNoWallet) {
			t.Errorf("no wallet: %v", err)
		}
		if err := post(t, db, move(3, a, ledger.Available, ledger.Available, 1)); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("no transfer: %v", err)
		}
		// What lacks funds writes nothing, and the transaction goes on.
		err := db.Tx(t.Context(), func(tx *gorm.DB) error {
			err := ledgerdb.Post(tx, at, move(4, b, ledger.ExternalCash, ledger.Available, 5), move(5, a, ledger.Available, ledger.Reserve, 41))
			if !errors.Is(err, ledger.ErrFunds) {
				t.Errorf("without funds: %v", err)
			}
			return ledgerdb.Post(tx, at, move(6, b, ledger.ExternalCash, ledger.Available, 7))
		})
		if err != nil || balance(t, db, b).Available != 7 || balance(t, db, a).Available != 40 {
			t.Error(err, balance(t, db, a), balance(t, db, b))
		}
		sums, err := ledgerdb.Sums(db.Read(t.Context()), "")
		if err != nil || sums[ledger.ExternalCash] != -107 || sums[ledger.Available] != 47 || sums[ledger.Reserve] != 60 {
			t.Error(sums, err)
		}
		if sums, err = ledgerdb.Sums(db.Read(t.Context()), b); err != nil || sums[ledger.ExternalCash] != -7 || sums[ledger.Reserve] != 0 {
			t.Error(sums, err)
		}
	})
}

// TestNeverBelow: the rule holds in the database, whatever a program does.
func TestNeverBelow(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		db := fresh(t)
		open(t, db, wallet(0))
		if err := post(t, db, move(0, wallet(0), ledger.ExternalCash, ledger.Available, 100)); err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			"UPDATE wallet_balances SET available = -1", "UPDATE wallet_balances SET reserve = -1",
			"UPDATE wallet_balances SET due = -1", "UPDATE wallet_balances SET card_load = -1",
			"UPDATE ledger_entries SET amount = 0", "UPDATE ledger_entries SET to_account = from_account",
			"UPDATE ledger_entries SET to_account = 'ELSEWHERE'", "DELETE FROM wallet_balances",
		} {
			err := db.Tx(t.Context(), func(tx *gorm.DB) error { return tx.Exec(statement).Error })
			if !errors.Is(err, gorm.ErrCheckConstraintViolated) && !errors.Is(err, gorm.ErrForeignKeyViolated) {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}

// TestRaces: many spend from one account at once, and no fen twice.
func TestRaces(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, fresh func(testing.TB) *store.DB) {
		db := fresh(t)
		w := wallet(0)
		open(t, db, w)
		if err := post(t, db, move(1000, w, ledger.ExternalCash, ledger.Available, 50)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for k := range 10 {
					err := post(t, db, move(10*i+k, w, ledger.Available, ledger.Reserve, 1))
					if err != nil && !errors.Is(err, ledger.ErrFunds) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := balance(t, db, w); got != (ledger.Balances{Reserve: 50}) {
			t.Errorf("%+v", got)
		}
	})
}

// TestMany posts more than one statement holds.
func TestMany(t *testing.T) {
	db := storetest.New(t)
	open(t, db, wallet(0))
	var ts []ledger.Transfer
	for n := range 1234 {
		ts = append(ts, move(n, wallet(0), ledger.ExternalCash, ledger.Available, 1))
	}
	for range 2 {
		if err := post(t, db, ts...); err != nil || balance(t, db, wallet(0)).Available != 1234 {
			t.Error(err, balance(t, db, wallet(0)))
		}
	}
}
