//go:build linux

package bench

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"
)

// TestSessions: more sessions bring more, whatever the machine does meanwhile.
func TestSessions(t *testing.T) {
	res, err := Run(t.Context(), "sessions", Options{Rounds: 9, Round: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Parts) != 2 || res.Name != "sessions" || res.Callers != 32 || len(res.Ratios) != 9 || res.LimitPerS <= 0 || res.OpsPerS <= res.LimitPerS {
		t.Errorf("%+v", res)
	}
	// A purchase check of a new card is eight calls, an HMAC two; either side
	// makes them, or it is another thing that is compared. Sessions that are
	// opened meanwhile are calls too.
	for i, want := range []float64{2, 8} {
		p := slices.SortedFunc(slices.Values(res.Parts), func(a, b Result) int { return cmp.Compare(a.CallsEach, b.CallsEach) })[i]
		if math.Abs(p.CallsEach-want) > 0.5 || math.Abs(p.LimitCallsEach-want) > 0.5 {
			t.Errorf("%s: %.2f calls for each, and %.2f with one session, want %g", p.Unit, p.CallsEach, p.LimitCallsEach, want)
		}
	}
}
