//go:build cgo

package hsm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

func TestReadBack(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	for _, r := range keyceremony.ServiceKeys(hsmtest.Realm) {
		born := "made inside"
		if spec, _ := r.Usage.Spec(); hsmtest.On(t) == "nss" && spec.Type != keyref.ECP256 {
			born = "the module does not say where it was made"
		}
		info, traits, err := tok.ReadBack(t.Context(), r)
		if err != nil || info.Ref != r || info.Check == nil || !strings.Contains(traits, "sensitive; not extractable") || !strings.Contains(traits, born) {
			t.Errorf("%v: %+v, %q, %v", r, info, traits, err)
		}
	}
	if _, _, err := tok.ReadBack(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 9}); !errors.Is(err, hsm.ErrKeyMissing) {
		t.Errorf("a key that is not there: %v", err)
	}
	pair := keyref.Ref{Usage: keyref.JWTSign, Version: 1}
	if err := tok.Remove(pair.Label(), pkcs11.CKO_PUBLIC_KEY); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tok.ReadBack(t.Context(), pair); !errors.Is(err, hsm.ErrKeyMissing) {
		t.Errorf("half a pair: %v", err)
	}
}

func TestUnlabelled(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	if err := tok.Plant("", keyref.DES3, 0, make([]byte, 24)); err != nil {
		t.Fatal(err)
	}
	for _, destroy := range []bool{false, true} {
		if names, err := tok.Unlabelled(t.Context(), destroy); err != nil || len(names) != 1 {
			t.Fatalf("%q, %v", names, err)
		}
	}
	if names, err := tok.Unlabelled(t.Context(), true); err != nil || len(names) != 0 {
		t.Errorf("it is still there: %q, %v", names, err)
	}
	if list, err := tok.Inventory(t.Context()); err != nil || len(list) != len(keyceremony.ServiceKeys(hsmtest.Realm)) {
		t.Errorf("%d keys are left, %v", len(list), err)
	}
}

// TestTrial: equal keys agree on two tokens, others do not.
func TestTrial(t *testing.T) {
	a, b := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}}), hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	for _, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.ACMaster, keyref.CVK, keyref.PANIndex, keyref.ACMasterAES, keyref.PANSeal} {
		r := keyref.Ref{Usage: u, Version: 1}
		spec, _ := u.Spec()
		if spec.Realm {
			r.Realm = "transit"
		}
		value := []byte("0123456789ABCDEFfedcba9876543210")
		if spec.Type == keyref.DES3 {
			value = value[:16]
		}
		other := r
		other.Version = 2
		changed := append([]byte("another!"), value[8:]...)
		if err := errors.Join(a.Import(t.Context(), r, value), b.Import(t.Context(), r, value), b.Import(t.Context(), other, changed)); err != nil {
			t.Fatal(err)
		}
		if u == keyref.ACMaster { // masters of one token differ from one another
			continue
		}
		x, err1 := a.Trial(t.Context(), r)
		y, err2 := b.Trial(t.Context(), r)
		z, err3 := b.Trial(t.Context(), other)
		if err := errors.Join(err1, err2, err3); err != nil || string(x) != string(y) || len(x) > 0 && string(x) == string(z) || (len(x) == 0) != (u == keyref.PANSeal) {
			t.Errorf("%v: %x, %x, %x, %v", r, x, y, z, err)
		}
	}
}

// sated answers the making of objects with one code.
type sated struct {
	hsm.Cryptoki
	code uint
}

func (s sated) CopyObject(pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return 0, pkcs11.Error(s.code)
}

// TestNoRoom: a token that takes no key says what to do, and holds none after.
func TestNoRoom(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	for code, says := range map[uint]string{pkcs11.CKR_DEVICE_MEMORY: "is full: destroy retired keys", pkcs11.CKR_TOKEN_WRITE_PROTECTED: "is read-only: lift"} {
		restore := tok.Inject(func(c hsm.Cryptoki) hsm.Cryptoki { return sated{c, code} })
		err := tok.Generate(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 1})
		restore()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v", err)
		}
	}
	if list, err := tok.Inventory(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%d keys, %v", len(list), err)
	}
}
