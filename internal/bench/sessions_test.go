//go:build linux

package bench

import (
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
}
