//go:build cgo

package hsm_test

import (
	"errors"
	"testing"

	"github.com/miekg/pkcs11"

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

// TestRequireLate: an old version of a key that another process destroys is
// missing from then on, and takes nothing else along.
func TestRequireLate(t *testing.T) {
	one, two := keyref.Ref{Usage: keyref.PANIndex, Version: 1}, keyref.Ref{Usage: keyref.PANIndex, Version: 2}
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{one, two}})
	for _, lose := range []func() error{func() error { return nil }, tok.Logout} {
		if err := tok.RequireLate(t.Context(), two); err != nil { // required at the start: it stays that
			t.Fatal(err)
		}
		old := keyref.Ref{Usage: keyref.PANIndex, Version: 3}
		if err := tok.Generate(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := tok.RequireLate(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if _, err := tok.HMAC(t.Context(), old, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tok.Remove(old.Label(), pkcs11.CKO_SECRET_KEY), lose()); err != nil {
			t.Fatal(err)
		}
		if err := tok.Health(t.Context()); err != nil {
			t.Fatalf("an old version that is gone: %v", err)
		}
		if _, err := tok.HMAC(t.Context(), old, []byte("x")); !errors.Is(err, hsm.ErrKeyMissing) {
			t.Fatalf("computing with it: %v", err)
		}
		if _, err := tok.HMAC(t.Context(), two, []byte("x")); err != nil {
			t.Fatalf("computing with another: %v", err)
		}
	}
	if err := tok.Remove(two.Label(), pkcs11.CKO_SECRET_KEY); err != nil {
		t.Fatal(err)
	}
	if err := tok.Health(t.Context()); !errors.Is(err, hsm.ErrKeyMissing) {
		t.Fatalf("a key of the start is gone: %v", err)
	}
}
