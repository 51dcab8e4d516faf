package bench

import (
	"testing"
	"time"
)

func TestHTTP(t *testing.T) {
	r, err := Run(t.Context(), "http", Options{Rounds: 9, Round: 12 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "http" || r.OpsPerS <= 0 || r.LimitPerS <= 0 || r.Ratio <= 0 || len(r.Ratios) != 9 || r.Callers != 16 {
		t.Errorf("got %+v", r)
	}
	t.Logf("%.0f/s of %.0f/s", r.OpsPerS, r.LimitPerS)
}
