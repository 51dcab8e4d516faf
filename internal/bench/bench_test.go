package bench

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPurchase runs the bench with short rounds: it has to work, agree with
// the C loop, and not be slow by a factor. The ratio that counts is measured
// by the command, on a quiet machine.
func TestPurchase(t *testing.T) {
	res, err := Run(t.Context(), "purchase", Options{Round: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if res.Rounds < 9 || len(res.Ratios) != res.Rounds || !slices.IsSorted(res.Ratios) {
		t.Errorf("rounds: %+v", res)
	}
	if res.Ratio < 0.5 || res.Ratio > 1.5 {
		t.Errorf("ratio %v is not believable", res.Ratio)
	}
	text, err := json.Marshal(res)
	for _, field := range []string{`"name":"purchase"`, `"ops_per_s":`, `"limit_per_s":`, `"ratio":`} {
		if err != nil || !strings.Contains(string(text), field) {
			t.Errorf("%s (%v) lacks %s", text, err, field)
		}
	}
	t.Logf("%s", text)
}

func TestUnknownBench(t *testing.T) {
	if _, err := Run(t.Context(), "nothing", Options{}); err == nil || !strings.Contains(err.Error(), "purchase") {
		t.Errorf("Run(nothing) = %v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}
