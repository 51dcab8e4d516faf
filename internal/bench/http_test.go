package bench

import (
	"testing"
	"time"
)

// TestHTTP: the benches over HTTP work, with every answer good. What counts is
// measured by the command, on a quiet machine.
func TestHTTP(t *testing.T) {
	for name, callers := range map[string]int{"http": 16, "http-durable": 16, "batch": 4} {
		r, err := Run(t.Context(), name, Options{Rounds: 9, Round: 12 * time.Millisecond})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Name != name || r.OpsPerS <= 0 || r.LimitPerS <= 0 || r.Ratio <= 0 || len(r.Ratios) != 9 || r.Callers != callers || r.MemoryMiB <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
		t.Logf("%s: %.0f/s of %.0f/s", name, r.OpsPerS, r.LimitPerS)
	}
}
