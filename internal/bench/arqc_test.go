package bench

import (
	"testing"
	"time"
)

// TestARQC: both sides compute the same at each number of callers.
func TestARQC(t *testing.T) {
	res, err := Run(t.Context(), "arqc", Options{Round: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Parts) != 3 || res.Name != "arqc" || res.OpsPerS <= 0 || res.LimitPerS <= 0 {
		t.Errorf("%+v", res)
	}
	for i, callers := range []int{1, 2, 8} {
		if p := res.Parts[i]; p.Callers != callers || p.Ratio < res.Ratio || len(p.Ratios) < 9 {
			t.Errorf("%+v", p)
		}
	}
}
