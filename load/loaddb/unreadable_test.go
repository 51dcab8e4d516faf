package loaddb_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// unreadable: orders that cannot be read hold up no other, and have their case when they
// can be read again.
func unreadable(t *testing.T, config store.Config) {
	db := storetest.Open(t, config)
	fund(t, db, 1000)
	cases := 0
	d := open(t, db, &cases)
	for n := range byte(5) {
		r := order(n+1, n, 7, 10)
		r.CreatedAt = now().Add(time.Duration(n) * time.Minute)
		if _, err := d.Begin(t.Context(), r, access.Attempt{}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := order(1, 0, 7, 10).ID, order(2, 1, 7, 10).ID
	storetest.Exec(t, db, "UPDATE card_loads SET terminal = ? WHERE id = ?", []byte{1}, first)
	storetest.Exec(t, db, "UPDATE card_loads SET balance = ? WHERE id = ?", int64(1)<<32, second)
	for i, want := range []int{3, 0} {
		n, err := d.Overdue(t.Context(), now().Add(time.Hour))
		if n != want || cases != 3 || err == nil || !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), second) {
			t.Errorf("sweep %d: %d orders, %d cases, %v", i, n, cases, err)
		}
	}
	storetest.Exec(t, db, "UPDATE card_loads SET terminal = ? WHERE id = ?", []byte{1, 2, 3, 4, 5, 255}, first)
	storetest.Exec(t, db, "UPDATE card_loads SET balance = ? WHERE id = ?", int64(0xFFFF_0000), second)
	if n, err := d.Overdue(t.Context(), now().Add(time.Hour)); n != 2 || cases != 5 || err != nil {
		t.Errorf("mended: %d orders, %d cases, %v", n, cases, err)
	}
}
