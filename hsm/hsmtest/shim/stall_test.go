//go:build linux && cgo

package shim_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
)

// TestRecyclingHangs: a module that does not return from being made anew keeps nobody
// waiting, those before and those after it was noticed; it is said once, and when the
// module is back, all go on.
func TestRecyclingHangs(t *testing.T) {
	behind(t)
	all := more(t)
	delete(all, "public key") // which needs no call
	for name, call := range map[string]shim.Call{"finalising": shim.Finalize, "initialising": shim.Initialize, "logging in": shim.Login} {
		t.Run(name, func(t *testing.T) {
			var hangs, ended atomic.Int64
			tok := hsmtest.New(t, recycling(func(c *hsm.Config) {
				elements(150)(c)
				c.OnStall = func(_ time.Duration, err error) {
					if err == nil {
						ended.Add(1)
					} else {
						hangs.Add(1)
					}
				}
			}))
			t.Cleanup(made.Heal) // before the token is closed
			good := map[string]string{}
			for op, f := range operations {
				answer, err := f(t.Context(), tok)
				if err != nil {
					t.Fatal(err)
				}
				good[op] = answer
			}
			var refused atomic.Int64
			stop := crowd(t, tok, 1, all, func(op, answer, good string, err error) {
				if retriable(t, op, answer, good, err); err != nil && strings.Contains(err.Error(), "does not return") {
					refused.Add(1)
					time.Sleep(time.Millisecond) // else they do nothing but ask
				}
			})
			made.Hang(call)
			until(t, "somebody says that it hangs", func() bool { return hangs.Load() > 0 })
			var callers sync.WaitGroup
			for op, f := range all {
				callers.Go(func() {
					if _, err := f(t.Context(), tok); !errors.Is(err, hsm.ErrUnavailable) {
						t.Errorf("%s while the module hangs: %v", op, err)
					}
				})
			}
			callers.Wait()
			until(t, "those who waited were let go", func() bool { return refused.Load() >= int64(len(all)) })
			made.Heal()
			until(t, "it is back", func() bool { return ended.Load() == 1 })
			stop()
			recovers(t, name, tok, good)
			if hangs.Load() != 1 {
				t.Errorf("it was told %d times", hangs.Load())
			}
		})
	}
}
