//go:build linux && cgo

package shim_test

import (
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestImportIsRefused: a module that takes no key in clear takes the same key
// wrapped; it is what it has to be, and nothing else stays. SoftHSM cannot say
// how long an unwrapped AES or HMAC key is, so it takes DES3 keys only; NSS softokn takes all.
func TestImportIsRefused(t *testing.T) {
	behind(t)
	tok := hsmtest.New(t, hsmtest.Options{Module: made.Module, Refs: []keyref.Ref{}})
	value := []byte("0123456789ABCDEFfedcba9876543210")
	for _, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.CVK} {
		r := ref(u)
		spec, _ := u.Spec()
		if spec.Realm {
			r.Realm = hsmtest.Realm
		}
		v := value
		if spec.Type == keyref.DES3 {
			v = value[:16]
		}
		made.Heal()
		if err := tok.Import(t.Context(), r, v); err != nil {
			t.Fatal(err)
		}
		clear, _, err := tok.ReadBack(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if err := tok.Destroy(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		made.Fail(shim.CreateObject, shim.Fault{Code: pkcs11.CKR_ACTION_PROHIBITED})
		if err := tok.Import(t.Context(), r, v); err != nil {
			t.Errorf("%v: %v", r, err)
			continue
		}
		made.Heal()
		wrapped, traits, err := tok.ReadBack(t.Context(), r)
		if err != nil || *wrapped.Check != *clear.Check {
			t.Errorf("%v: %v, %s", r, err, traits)
		}
	}
	made.Fail(shim.CreateObject, shim.Fault{Code: pkcs11.CKR_ACTION_PROHIBITED})
	err := tok.Import(t.Context(), ref(keyref.PANIndex), value)
	if soft := hsmtest.On(t) == "softhsm"; soft != (err != nil) || soft && !strings.Contains(err.Error(), "and wrapped") {
		t.Errorf("an HMAC key, wrapped, on %s: %v", hsmtest.On(t), err)
	}
	made.Heal()
	if left, err := tok.Unlabelled(t.Context(), false); err != nil || len(left) != 0 {
		t.Errorf("%q, %v", left, err)
	}
	made.Fail(shim.CreateObject, shim.Fault{Code: pkcs11.CKR_DEVICE_ERROR, Times: 4})
	if err := tok.Import(t.Context(), ref(keyref.Script), value); err == nil {
		t.Error("another failure was taken for a refusal")
	}
}
