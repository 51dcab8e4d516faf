package loaddb_test

import (
	"testing"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
)

// purses: each purse of a card has a counter of its own, so one value of it stands for
// one order to each.
func purses(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	first, other := order(1, 1, 7, 400), order(2, 1, 7, 300)
	other.Type = cryptogram.LoadDeposit
	for _, r := range []load.Record{first, other} {
		if got, err := d.Begin(t.Context(), r, access.Attempt{}); err != nil || got.ID != r.ID {
			t.Errorf("%s: %s, %v", r.ID, got.ID, err)
		}
	}
	if b := balances(t, db); b.Available != 300 || b.CardLoad != 700 {
		t.Errorf("%+v", b)
	}
}

// seen keeps the severity of the cases that are opened.
type seen struct{ all *[]int }

func (s seen) OpenCase(_ *gorm.DB, c account.Case) error {
	*s.all = append(*s.all, c.Severity)
	return nil
}

// severities: that a reversed load is on its card weighs more than one that nobody can explain.
func severities(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	var all []int
	d, err := loaddb.New(loaddb.Config{Store: db, Now: now, Cases: seen{&all}})
	if err != nil {
		t.Fatal(err)
	}
	for i, found := range [][]load.Finding{{load.Unclear}, {load.Undone, load.Proven}} {
		r, err := d.Begin(t.Context(), order(1, byte(1+i), 7, 100), access.Attempt{})
		for _, f := range found {
			if err == nil {
				r, err = d.Finish(t.Context(), r.ID, r.Revision, f)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) != 2 || all[0] != 2 || all[1] != 3 {
		t.Errorf("severities %v", all)
	}
}
