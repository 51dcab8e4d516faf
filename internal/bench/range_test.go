package bench

import (
	"testing"
	"time"
)

// TestRange runs the bench with few rows and short rounds: it has to work and
// to compare two vaults that do the same.
func TestRange(t *testing.T) {
	res, err := rangeOf(t.Context(), Options{Round: 30 * time.Millisecond}, 2_000, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if res.Name != "range" || res.Lookup == nil || res.CostRatio <= 0 || res.Lookup.CostRatio <= 0 {
		t.Errorf("%+v, lookup %+v", res, res.Lookup)
	}
}
