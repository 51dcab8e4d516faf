//go:build linux && cgo

package shim_test

import (
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
)

// TestSlotsComeWhileListed: a module that counts no slot, and lists those that were put
// in meanwhile, is believed; nothing is written past the room that it was given.
func TestSlotsComeWhileListed(t *testing.T) {
	tok, _ := open(t, nil)
	made.LoseLogin()
	calls, narrow := made.Calls(shim.GetSlotList), made.Narrow()
	made.Fail(shim.GetSlotList, shim.Fault{Code: 0, Times: 1}) // none, without an error
	if err := tok.Health(t.Context()); err != nil {
		t.Errorf("a token that came between counting and listing: %v", err)
	}
	if calls, narrow = made.Calls(shim.GetSlotList)-calls, made.Narrow()-narrow; calls != 2 || narrow != 0 {
		t.Errorf("%d calls, want them counted and listed once; %d times there was too little room", calls, narrow)
	}
}
