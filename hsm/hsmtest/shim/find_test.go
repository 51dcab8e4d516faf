//go:build linux && cgo

package shim_test

import (
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

// mostCalls is how many calls a key may cost that is found again: seven for each of
// its objects, and those that copy it to the session and try it.
const mostCalls = 20

// TestKeysAreFoundAtOnce: after a lost login, and when a module is made anew, one
// search finds all keys. A module looks at every object for each search, so that
// a search for each key takes a time that grows with the square of their number.
func TestKeysAreFoundAtOnce(t *testing.T) {
	behind(t)
	keys := keyceremony.ServiceKeys(hsmtest.Realm)
	tok := hsmtest.New(t, hsmtest.Options{Module: made.Module})
	searches, calls := made.Calls(shim.FindInit), made.AllCalls()
	made.LoseLogin()
	if err := tok.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	searches, calls = made.Calls(shim.FindInit)-searches, made.AllCalls()-calls
	t.Logf("%d keys are found again by %d searches and %d calls", len(keys), searches, calls)
	if searches != 1 || calls > mostCalls*len(keys) {
		t.Errorf("%d keys are found again by %d searches and %d calls", len(keys), searches, calls)
	}
}

// TestListingFails breaks the calls by which keys are listed: after a failure the
// session is replaced, and they are found.
func TestListingFails(t *testing.T) {
	keys := keyceremony.ServiceKeys(hsmtest.Realm)
	tok, good := open(t, func(c *hsm.Config) { c.MaxSessions = 2 })
	for call, name := range map[shim.Call]string{shim.Find: "FindObjects", shim.FindInit: "FindObjectsInit", shim.FindFinal: "FindObjectsFinal",
		shim.GetAttribute: "GetAttributeValue", shim.GetSessionInfo: "GetSessionInfo"} {
		for _, code := range []uint{0x05, 0x30, 0x82, 0x101} {
			for _, skip := range []int{0, 1, 60, 100} {
				made.Fail(call, shim.Fault{Code: code, Skip: skip, Times: 1})
				retriable(t, name, "", "", tok.Require(t.Context(), keys...))
				made.Heal()
				recovers(t, name, tok, good)
				made.Fail(call, shim.Fault{Code: code, Skip: skip, Times: 1})
				made.LoseLogin()
				retriable(t, name, "", "", tok.Require(t.Context(), ref(keyref.PARKey)))
				made.Heal()
				recovers(t, name, tok, good)
				if t.Failed() {
					return
				}
			}
		}
	}
}
