//go:build linux && cgo

package shim_test

import (
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestRequireFails breaks the calls by which keys are made ready, which share
// one session with the login: after a failure it is replaced too.
func TestRequireFails(t *testing.T) {
	tok, good := open(t, nil)
	for call, name := range map[shim.Call]string{shim.Find: "FindObjects", shim.FindInit: "FindObjectsInit", shim.FindFinal: "FindObjectsFinal",
		shim.CopyObject: "CopyObject", shim.GetAttribute: "GetAttributeValue", shim.DeriveKey: "DeriveKey",
		shim.DestroyObject: "DestroyObject", shim.Encrypt: "Encrypt"} {
		for _, code := range []uint{0x06, 0x30, 0x31, 0xB3, 0x101} {
			for skip := range 4 {
				made.Fail(call, shim.Fault{Code: code, Skip: skip, Times: 1})
				retriable(t, name, "", "", tok.Require(t.Context(), ref(keyref.PurchaseMaster), ref(keyref.TACMaster)))
				made.Heal()
				if err := tok.Require(t.Context(), ref(keyref.PurchaseMaster)); err != nil {
					t.Fatalf("%s, code %#x: requiring again: %v", name, code, err)
				}
				recovers(t, name, tok, good)
				if t.Failed() {
					return
				}
			}
		}
	}
}
