package tapdb_test

import (
	"testing"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// owned: once whom its terminal is registered for has told of a record that others
// claimed, nobody else's word on it counts, also to who reads it back.
func owned(t *testing.T, config store.Config) {
	d := tapdb.New(storetest.Open(t, config), now)
	e := item("trO", 1, 0)
	for i, told := range []struct {
		by            string
		owned         bool
		reporter, and string
	}{{"b", false, "b", ""}, {"c", false, "b", "c"}, {"d", true, "d", ""}, {"a", false, "d", ""}} {
		e.Reporter, e.Owned, e.Sources = told.by, told.owned, account.ByTerminal
		mustRecord(t, d, e)
		got, err := d.Entry(t.Context(), e.Ref, e.ID())
		if err != nil || got.Reporter != told.reporter || got.Rival != told.and {
			t.Errorf("word %d, of %s: it is %s's and %q's, %v", i, told.by, got.Reporter, got.Rival, err)
		}
	}
}
