package vault

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/tokenize/ff1"
)

// TestEveryNumberOfAMillion: all serials of the smallest range have numbers of
// their own, with the right check digit, inside the range, outside every card
// range, and with images of their own to keys that see 16 or 14 digits.
func TestEveryNumberOfAMillion(t *testing.T) {
	c, err := ff1.New([]byte(strings.Repeat("k", 32)), 10)
	if err != nil {
		t.Fatal(err)
	}
	cards := []Range{{Name: "card", Prefix: "622848", Length: 16}, {Name: "card", Prefix: "910002001", Length: 16}}
	n := &numbering{Range: Range{Name: "small", Prefix: "910002000", Length: 16, Luhn: true}, cipher: c}
	seen := make([]bool, n.size())
	for serial := range n.size() {
		num, err := n.number(serial)
		if err != nil {
			t.Fatal(err)
		}
		d := num.Digits()
		at := 0
		for _, b := range []byte(d[9:15]) {
			at = 10*at + int(b-'0')
		}
		if seen[at] {
			t.Fatalf("serial %d has the number of another one", serial)
		}
		seen[at] = true
		if len(d) != 16 || !n.holds(d) || token.LuhnDigit(d[:15]) != d[15] || cards[0].holds(d) || cards[1].holds(d) {
			t.Fatalf("serial %d has a number that is none of its range", serial)
		}
	}
}

// TestMillionGivenOut: of a range of a million numbers, all but a few of which
// are out, the last are issued, the next is refused, and those that come back
// come back once each.
func TestMillionGivenOut(t *testing.T) {
	const size, left, ready = 1_000_000, 5, 7
	now := noon
	cfg := config(storetest.New(t), token1(t))
	cfg.Now = func() time.Time { return now }
	cfg.Ranges = []Range{{Name: "small", Prefix: "910002000", Length: 16, Luhn: true}}
	v := open(t, cfg)
	later := noon.Add(10 * 24 * time.Hour)
	storetest.Exec(t, cfg.DB, `INSERT INTO numbers (range_id, serial, holder, next_ctr, free_after)
		WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < ?)
		SELECT 'small', n, 'filled', 1, CASE WHEN n < ? THEN ? ELSE ? END FROM s`, size-left, ready,
		later.UnixMilli(), noon.Add(90*24*time.Hour).UnixMilli())
	storetest.Exec(t, cfg.DB, "UPDATE token_ranges SET next_serial = ?", size-left)
	serials := map[int64]bool{}
	take := func(n int) {
		t.Helper()
		for range n {
			serial, ok := v.ranges.all()[0].serial(issue(t, v, "622848000000001").Number)
			if !ok || serials[serial] {
				t.Fatalf("serial %d was given out twice", serial)
			}
			serials[serial] = true
		}
		if _, err := v.Writer().Issue(t.Context(), order(t, "622848000000001"), "bank", access.Attempt{}); !errors.Is(err, ErrExhausted) {
			t.Fatalf("one more than there are: %v", err)
		}
	}
	take(left)
	all, err := v.Capacity(t.Context())
	if err != nil || all[0].Fresh != 0 || all[0].Resting != size || all[0].DaysLeft == Plenty {
		t.Fatalf("%+v, %v", all, err)
	}
	now = later
	take(ready)
}
