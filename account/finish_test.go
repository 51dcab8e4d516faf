package account_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
)

// TestSecondFinishIsTheFirst: a process that comes with the answer to a sync after another
// one was faster is given that one's, and what the database holds stays.
func TestSecondFinishIsTheFirst(t *testing.T) {
	storetest.OnEach(t, func(t *testing.T, open func(testing.TB) *store.DB) {
		db := open(t)
		now := dayEnd.Add(-time.Hour)
		d := tapdb.New(db, func() time.Time { return now })
		id, ref := token.WalletID("wl"+strings.Repeat("A", 26)), token.Ref("tr"+strings.Repeat("A", 26))
		e, first := seed(t, db, d, id, ref)
		before := printed(t, db, id, ref)
		again, err := d.FinishSync(t.Context(), e)
		if err != nil || again.Grant == nil || again.Grant.BundleID != first.Grant.BundleID || !reflect.DeepEqual(ctrs(again), ctrs(first)) {
			t.Errorf("first %+v, then %+v, %v", first, again, err)
		}
		if after := printed(t, db, id, ref); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}

func ctrs(s account.Settlement) (out []uint16) {
	if s.Grant == nil {
		return nil
	}
	for _, ud := range s.Grant.Slots {
		out = append(out, ud.Ctr)
	}
	return out
}
