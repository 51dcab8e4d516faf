package hsm_test

import (
	"errors"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestDestroy: a key that was destroyed is gone whole, and no other key is.
func TestDestroy(t *testing.T) {
	one, two := keyref.Ref{Usage: keyref.PANSeal, Version: 1}, keyref.Ref{Usage: keyref.PANSeal, Version: 2}
	sign := keyref.Ref{Usage: keyref.JWTSign, Version: 1}
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{one, two, sign}})
	sealed, err := tok.Seal(t.Context(), two, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []keyref.Ref{one, sign} {
		if err := tok.Destroy(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if err := tok.Require(t.Context(), ref); !errors.Is(err, hsm.ErrKeyMissing) {
			t.Fatalf("%v is still there: %v", ref, err)
		}
		if err := tok.Destroy(t.Context(), ref); !errors.Is(err, hsm.ErrKeyMissing) {
			t.Fatalf("destroying %v again: %v", ref, err)
		}
	}
	if _, err := tok.Seal(t.Context(), one, []byte("x"), nil); !errors.Is(err, hsm.ErrKeyMissing) {
		t.Fatalf("sealing under it: %v", err)
	}
	if _, err := tok.Unseal(t.Context(), two, sealed, nil); err != nil {
		t.Fatal(err)
	}
	strays, err := tok.Strays(t.Context())
	if err != nil || len(strays) > 0 {
		t.Fatalf("left behind: %v, %v", strays, err)
	}
	if err := tok.Destroy(t.Context(), keyref.Ref{}); !errors.Is(err, keyref.ErrMalformed) {
		t.Fatal(err)
	}
}
