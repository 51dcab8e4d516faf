//go:build linux && cgo

package shim_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
)

// TestComputingHangs: while nothing that the module computes comes back, the token is
// not well, though it answers all else; whoever waits for a turn, or comes, is let go,
// and only calls that the module has stay in it. When it answers, all go on.
func TestComputingHangs(t *testing.T) {
	for name, x := range map[string]struct {
		call   shim.Call
		op     string
		within int64 // how many callers the module can have
	}{
		"at the workers":  {shim.Encrypt, "process MAC", 1},
		"in the sessions": {shim.Sign, "sign", 3},
	} {
		t.Run(name, func(t *testing.T) {
			tok, good := open(t, func(c *hsm.Config) { c.Workers, c.MaxSessions = 1, 3 })
			t.Cleanup(made.Heal) // before the token is closed
			const callers = 8
			var refused, answered atomic.Int64
			made.Hang(x.call)
			for range callers {
				go func() {
					answer, err := operations[x.op](t.Context(), tok)
					if retriable(t, x.op, answer, good[x.op], err); err != nil {
						refused.Add(1)
					} else {
						answered.Add(1)
					}
				}()
			}
			until(t, "it is not well", func() bool { return !well(tok) })
			until(t, "those who waited were let go", func() bool { return refused.Load() >= callers-x.within })
			if _, err := operations[x.op](t.Context(), tok); err == nil || !strings.Contains(err.Error(), "does not come back") {
				t.Errorf("who comes then: %v", err)
			}
			if n := answered.Load(); n != 0 {
				t.Errorf("%d were answered", n)
			}
			made.Heal()
			until(t, "the others were answered", func() bool { return refused.Load()+answered.Load() == callers })
			until(t, "it is well", func() bool { return well(tok) })
			recovers(t, name, tok, good)
		})
	}
}

// well reports whether computing comes back; a busy machine may be late for the rest.
func well(tok *hsm.Token) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := tok.Health(ctx)
	return err == nil || !strings.Contains(err.Error(), "does not come back")
}
