package bench

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestContests runs the benches of cryptograms with short rounds, on every
// module: they have to work, at each number of callers, and both sides have to
// compute the same. What counts is measured by the command, on a quiet machine.
func TestContests(t *testing.T) {
	for _, name := range []string{"purchase", "arqc", "tac"} {
		res, err := Run(t.Context(), name, Options{Module: AllModules, Round: 5 * time.Millisecond})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(res.Parts) != 6 || res.Name != name || res.OpsPerS <= 0 || res.LimitPerS <= 0 {
			t.Errorf("%s: %+v", name, res)
			continue
		}
		for i, p := range res.Parts {
			if want := []string{"softhsm", "nss"}[i/3]; p.Module != want || p.Callers != []int{1, 2, 8}[i%3] {
				t.Errorf("%s: part %d is of %s at %d callers", name, i, p.Module, p.Callers)
			}
			if p.Ratio < res.Ratio || len(p.Ratios) < 9 || !slices.IsSorted(p.Ratios) {
				t.Errorf("%s: %+v", name, p)
			}
		}
		text, err := json.Marshal(res)
		for _, field := range []string{`"name":"` + name + `"`, `"ops_per_s":`, `"limit_per_s":`, `"ratio":`, `"module":`} {
			if err != nil || !strings.Contains(string(text), field) {
				t.Errorf("%s (%v) lacks %s", text, err, field)
			}
		}
	}
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
