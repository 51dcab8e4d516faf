//go:build linux && cgo

package shim_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
)

// TestModuleIsCutOff: a module that loses what it talks to, and does not look for it again
// by itself, is made anew until it has it back, whatever the code by which it says so.
func TestModuleIsCutOff(t *testing.T) {
	for _, code := range []uint{0x30, 0x05, 0x80000123} { // device error, general error, a vendor's own
		t.Run(fmt.Sprintf("%#x", code), func(t *testing.T) {
			tok, good := open(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begun := made.Calls(shim.Initialize)
			made.Cut(code)
			for made.Calls(shim.Initialize) == begun && ctx.Err() == nil { // that it was tried in vain
				for name, op := range operations {
					answer, err := op(t.Context(), tok)
					retriable(t, name, answer, good[name], err)
					if err == nil {
						t.Fatalf("%s: it was not cut off", name)
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
			made.Reach()
			var callers sync.WaitGroup
			for name, op := range operations {
				callers.Go(func() {
					answer, err := op(t.Context(), tok)
					for ; err != nil && ctx.Err() == nil; answer, err = op(t.Context(), tok) {
						retriable(t, name, answer, good[name], err)
						time.Sleep(10 * time.Millisecond)
					}
					if err != nil || answer != good[name] {
						t.Errorf("%s does not work again: %v", name, err)
					}
				})
			}
			callers.Wait()
		})
	}
}
