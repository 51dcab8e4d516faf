package loaddb_test

import (
	"testing"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
	"github.com/tapvault/tapvault/token"
)

// phones counts what a wallet's phone has to hear of.
type phones struct{ lowered, arrived int }

func (p *phones) Lowering(_ *gorm.DB, _ token.WalletID, change func() error) error {
	p.lowered++
	return change()
}

func (p *phones) Arrived(*gorm.DB, token.WalletID, string) error {
	p.arrived++
	return nil
}

// phonesHear: the phone behind an account is asked whenever an order, or a decision
// about one, takes of its money, and told when some comes back.
func phonesHear(t *testing.T, config store.Config) {
	db, heard := storetest.Open(t, config), &phones{}
	fund(t, db, 1000)
	d, err := loaddb.New(loaddb.Config{Store: db, Phones: heard, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error, lowered, arrived, available int) {
		t.Helper()
		if got := balances(t, db); err != nil || *heard != (phones{lowered, arrived}) || got.Available != int64(available) {
			t.Fatalf("%s: %+v, %+v, %v", what, *heard, got, err)
		}
	}
	r, err := d.Begin(t.Context(), order(1, 1, 7, 400), access.Attempt{})
	want("ordered", err, 1, 0, 600)
	r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Undone)
	want("reversed", err, 1, 1, 1000)
	r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Proven)
	want("proven after all", err, 1, 1, 1000)
	_, err = d.Decide(t.Context(), decision(r, load.Settle))
	want("taken by a decision", err, 2, 1, 600)
	if r, err = d.Begin(t.Context(), order(2, 2, 7, 100), access.Attempt{}); err == nil {
		r, err = d.Finish(t.Context(), r.ID, r.Revision, load.Unclear)
	}
	want("in suspense", err, 3, 1, 500)
	_, err = d.Decide(t.Context(), decision(r, load.Reverse))
	want("given back by a decision", err, 3, 2, 600)
}
