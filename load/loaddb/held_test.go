package loaddb_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
)

var _ account.Loads = (*loaddb.DB)(nil)

// gives returns a check of what list gives.
func gives(t *testing.T, list func(context.Context) ([]account.HeldLoad, error)) func(what string, want ...account.HeldLoad) {
	return func(what string, want ...account.HeldLoad) {
		t.Helper()
		if got, err := list(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
		}
	}
}

// begun gives out an order to a card.
func begun(t *testing.T, d *loaddb.DB, card byte, k load.Kind, fen uint32) load.Record {
	t.Helper()
	o := order(1, card, 7, fen)
	o.Kind = k
	r, err := d.Begin(t.Context(), o, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// held: what stands in SUSPENSE for orders is named order by order, and first what
// their states do not explain.
func held(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 5000)
	cases := 0
	d := open(t, db, &cases)
	want := gives(t, d.Held)
	hang := func(card byte, k load.Kind, fen uint32) load.Record {
		t.Helper()
		r := begun(t, d, card, k, fen)
		r, err := d.Finish(t.Context(), r.ID, r.Revision, load.Unclear)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	want("nothing hangs")
	credit := hang(1, load.Credit, 100)
	debit := hang(2, load.Debit, 300)
	want("an unload moved nothing yet", account.HeldLoad{ID: credit.ID, Want: 100, Found: 100})
	r, err := d.Decide(t.Context(), decision(debit, load.Reverse))
	if err != nil {
		t.Fatal(err)
	}
	if debit, err = d.Finish(t.Context(), r.ID, r.Revision, load.Proven); err != nil || debit.State != load.Disputed {
		t.Fatalf("%+v, %v", debit, err)
	}
	want("a dispute", account.HeldLoad{ID: credit.ID, Want: 100, Found: 100}, account.HeldLoad{ID: debit.ID, Want: 300, Found: 300})

	// Somebody else writes to the database: an order that is none, and states that
	// no money followed.
	stray := order(1, 3, 7, 40)
	if err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		return ledgerdb.Post(tx, now(), ledger.Transfer{Purpose: ledger.ForCards + "hang", Key: stray.ID, Wallet: wallet, From: ledger.Available, To: ledger.Suspense, Amount: 40})
	}); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, db, "UPDATE card_loads SET state = 'SETTLED' WHERE id = ?", credit.ID)
	lost := hang(4, load.Credit, 70)
	storetest.Exec(t, db, "DELETE FROM ledger_entries WHERE about = ? AND purpose = 'card-hang'", lost.ID)
	want("what nothing explains", account.HeldLoad{ID: credit.ID, Found: 100}, account.HeldLoad{ID: stray.ID, Found: 40},
		account.HeldLoad{ID: lost.ID, Want: 70}, account.HeldLoad{ID: debit.ID, Want: 300, Found: 300})
}

// astray: what is on its way to cards is compared order by order, while orders are
// given out, obeyed, reversed and set aside.
func astray(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 5000)
	cases := 0
	d := open(t, db, &cases)
	want := gives(t, d.Astray)
	begin := func(card byte, k load.Kind, fen uint32) load.Record {
		t.Helper()
		r := begun(t, d, card, k, fen)
		want("given out")
		return r
	}
	for i, f := range []load.Finding{load.Proven, load.Undone, load.Stood, load.Unclear} {
		for j, k := range []load.Kind{load.Credit, load.Debit} {
			r := begin(byte(10+2*i+j), k, 100)
			if _, err := d.Finish(t.Context(), r.ID, r.Revision, f); err != nil {
				t.Fatal(err)
			}
			want("finished: " + string(f))
		}
	}
	kept := begin(1, load.Credit, 70)

	// Somebody else writes to the database: an order that lost its debit, one that is
	// over and yet on its way, and money that is no order's.
	lost, over, stray := begin(2, load.Credit, 30), begin(3, load.Credit, 50), order(1, 4, 7, 40)
	storetest.Exec(t, db, "DELETE FROM ledger_entries WHERE about = ?", lost.ID)
	storetest.Exec(t, db, "UPDATE card_loads SET state = 'SETTLED' WHERE id = ?", over.ID)
	if err := db.Tx(t.Context(), func(tx *gorm.DB) error {
		return ledgerdb.Post(tx, now(), ledger.Transfer{Purpose: ledger.ForCards + "begin", Key: stray.ID, Wallet: wallet, From: ledger.Available, To: ledger.CardLoad, Amount: 40})
	}); err != nil {
		t.Fatal(err)
	}
	all := []account.HeldLoad{{ID: lost.ID, Want: 30}, {ID: over.ID, Found: 50}, {ID: stray.ID, Found: 40}}
	slices.SortFunc(all, func(a, b account.HeldLoad) int { return strings.Compare(a.ID, b.ID) })
	want("what no order explains", all...)
	if _, err := d.Finish(t.Context(), kept.ID, kept.Revision, load.Proven); err != nil {
		t.Fatal(err)
	}
	want("the others are as they were", all...)
}
