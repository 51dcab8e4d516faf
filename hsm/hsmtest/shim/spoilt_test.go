//go:build linux && cgo

package shim_test

import (
	"errors"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestSpoiltKeyIsNamed: a key that is there and cannot be computed with is unfit
// and named, and hides no other key; a token that is gone says nothing of keys.
func TestSpoiltKeyIsNamed(t *testing.T) {
	tok, _ := open(t, nil)
	const mechanismInvalid, deviceRemoved = 0x70, 0x32
	made.Fail(shim.SignInit, shim.Fault{Code: mechanismInvalid})
	if _, _, err := tok.ReadBack(t.Context(), ref(keyref.PARKey)); !errors.Is(err, hsm.ErrKeyUnfit) || errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("read back: %v", err)
	}
	list, err := tok.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	flagged, whole := 0, 0
	for _, k := range list {
		if k.Flag != "" {
			flagged++
		} else if k.Check != nil {
			whole++
		}
	}
	if flagged == 0 || whole == 0 {
		t.Errorf("%d keys are flagged, %d are whole", flagged, whole)
	}
	made.Fail(shim.SignInit, shim.Fault{Code: deviceRemoved})
	if _, _, err := tok.ReadBack(t.Context(), ref(keyref.PARKey)); errors.Is(err, hsm.ErrKeyUnfit) || !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("with the token gone: %v", err)
	}
}
