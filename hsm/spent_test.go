//go:build cgo

package hsm_test

import (
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestSpent: CPU time of the module is added up from when it was asked for.
func TestSpent(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{ref(keyref.PurchaseMaster)}})
	path := mustPath(t, ref(keyref.PurchaseMaster), keyref.Factor{1})
	call := func() {
		t.Helper()
		if _, err := tok.ProcessMAC(t.Context(), path, [8]byte{1}, []byte("m")); err != nil {
			t.Fatal(err)
		}
	}
	if call(); tok.Spent() != 0 {
		t.Errorf("%v before anybody asked", tok.Spent())
	}
	tok.Timed()
	for range 1000 { // one call may take less than the clock shows
		if call(); tok.Spent() > 0 {
			return
		}
	}
	t.Error("a thousand calls took no CPU time")
}
