package loaddb_test

import (
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/account/ledgerdb"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/event/outbox"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
)

// opened is a database with one active wallet, its book, and loads that tell it.
func opened(t *testing.T, config store.Config) (*store.DB, *outbox.Outbox, *tapdb.DB, *loaddb.DB) {
	db := storetest.Open(t, config)
	events, err := outbox.New(outbox.Config{DB: db, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	book := tapdb.New(db, now).With(events, account.Rules{})
	d, err := loaddb.New(loaddb.Config{Store: db, Events: events, Cases: book, Phones: book, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = book.Open(t.Context(), "test", access.Attempt{}, account.Wallet{ID: wallet, Requestor: "12345678901", State: account.WalletActive, OpenedAt: now(), ChangedAt: now()})
	if err != nil {
		t.Fatal(err)
	}
	return db, events, book, d
}

// closed: what a card gives back after its wallet was closed is paid out, once.
func closed(t *testing.T, config store.Config) {
	db, events, book, d := opened(t, config)
	r := order(1, 1, 7, 400)
	r.Kind = load.Debit
	r, err := d.Begin(t.Context(), r, access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if w, err := book.Close(t.Context(), wallet, "test", access.Attempt{}); err != nil || w.State != account.WalletClosed {
		t.Fatalf("%+v, %v", w, err)
	}
	for range 2 {
		if r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Proven); err != nil || r.State != load.Settled {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	f, err := book.Funds(t.Context(), wallet)
	if err != nil || f.Balances != (ledger.Balances{}) || account.Invariants(f) != nil {
		t.Errorf("%+v, %v", f.Balances, err)
	}
	sums, err := ledgerdb.Sums(db.Read(t.Context()), wallet)
	if err != nil || sums[ledger.ExternalCash] != 0 {
		t.Errorf("%v, %v", sums, err)
	}
	all, err := events.List(t.Context(), event.Filter{Wallet: wallet}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range all {
		if e.Type == event.PaidOut && e.Data["amount"] == "400" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times to pay out 400: %+v", told, all)
	}
}
