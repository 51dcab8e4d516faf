//go:build cgo

package hsm_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // what the module's OAEP hashes with
	"errors"
	"math/big"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// elementRef names a slot master of secure elements.
func elementRef(u keyref.Usage) keyref.Ref {
	return keyref.Ref{Realm: hsmtest.Realm, Usage: u, Version: 2}
}

// elementToken holds masters of phones (version 1) and of elements (2).
func elementToken(t testing.TB, change ...func(*hsm.Config)) *hsm.Token {
	return hsmtest.New(t, hsmtest.Options{
		Refs: []keyref.Ref{ref(keyref.PurchaseMaster), ref(keyref.SlotPurchaseMaster), elementRef(keyref.SlotPurchaseMaster),
			elementRef(keyref.SlotTACMaster), {Realm: hsmtest.Realm, Usage: keyref.PurchaseMaster, Version: 2}},
		Config: func(c *hsm.Config) {
			c.ElementKeys = 2
			for _, f := range change {
				f(c)
			}
		}})
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustPath(t testing.TB, r keyref.Ref, fs ...keyref.Factor) keyref.Path {
	t.Helper()
	p, err := r.Path(fs...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWrapTokenKey unwraps as an element does, goes one level deeper in memory
// and meets the slot keys that the token itself makes.
func TestWrapTokenKey(t *testing.T) {
	tok, se := elementToken(t), newRSA(t, 2048)
	issuer, asn, ud := keyref.Factor{1}, keyref.Factor{2}, keyref.Factor{3, 7}
	for _, u := range []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster} {
		p := mustPath(t, elementRef(u), issuer, asn)
		wrapped, err := tok.WrapTokenKey(t.Context(), p, &se.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		key, err := rsa.DecryptOAEP(sha1.New(), nil, se, wrapped, nil)
		if err != nil || len(key) != 24 || !bytes.Equal(key[:8], key[16:]) {
			t.Fatalf("%s: %d bytes are no double-length key, %v", u, len(key), err)
		}
		want, err := tok.SlotKeys(t.Context(), p, []keyref.Factor{ud})
		if err != nil {
			t.Fatal(err)
		}
		if softDiversify([16]byte(key), ud) != want[0] {
			t.Errorf("%s: the element makes other slot keys than the token", u)
		}
	}
}

func TestWrapTokenKeyRefusals(t *testing.T) {
	tok, se := elementToken(t), &newRSA(t, 2048).PublicKey
	one, two, three := keyref.Factor{1}, keyref.Factor{2}, keyref.Factor{3}
	good := mustPath(t, elementRef(keyref.SlotPurchaseMaster), one, two)
	wide := func(bits int) *rsa.PublicKey {
		n := new(big.Int).SetBit(new(big.Int), bits-1, 1)
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	for name, c := range map[string]struct {
		path keyref.Path
		peer *rsa.PublicKey
		want error
	}{
		"a card master":          {mustPath(t, keyref.Ref{Realm: hsmtest.Realm, Usage: keyref.PurchaseMaster, Version: 2}, one, two), se, hsm.ErrKeyUnfit},
		"a master of phones":     {mustPath(t, ref(keyref.SlotPurchaseMaster), one, two), se, hsm.ErrKeyUnfit},
		"the master itself":      {mustPath(t, elementRef(keyref.SlotPurchaseMaster)), se, hsm.ErrKeyUnfit},
		"one level":              {mustPath(t, elementRef(keyref.SlotPurchaseMaster), one), se, hsm.ErrKeyUnfit},
		"three levels":           {mustPath(t, elementRef(keyref.SlotPurchaseMaster), one, two, three), se, hsm.ErrKeyUnfit},
		"a master never asked":   {mustPath(t, keyref.Ref{Realm: "other", Usage: keyref.SlotTACMaster, Version: 2}, one, two), se, hsm.ErrKeyMissing},
		"no peer":                {good, nil, keyref.ErrMalformed},
		"a peer without modulus": {good, &rsa.PublicKey{E: 65537}, keyref.ErrMalformed},
		"2047 bits":              {good, wide(2047), keyref.ErrMalformed},
		"4097 bits":              {good, wide(4097), keyref.ErrMalformed},
		"exponent 3":             {good, &rsa.PublicKey{N: se.N, E: 3}, keyref.ErrMalformed},
		"an even modulus":        {good, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, keyref.ErrMalformed},
	} {
		if out, err := tok.WrapTokenKey(t.Context(), c.path, c.peer); !errors.Is(err, c.want) || out != nil {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
	shut := elementToken(t, func(c *hsm.Config) { c.ElementKeys = 0 })
	if _, err := shut.WrapTokenKey(t.Context(), good, se); !errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("without elements: %v", err)
	}
}

// wrapping fails C_WrapKey, hides the mechanism, and counts what is made and
// destroyed.
type wrapping struct {
	hsm.Cryptoki
	fail, lacks             error
	created, gone, sessions int
}

func (w *wrapping) GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error) {
	if w.lacks != nil {
		return pkcs11.MechanismInfo{}, w.lacks
	}
	return w.Cryptoki.GetMechanismInfo(slot, m)
}

func (w *wrapping) CreateObject(s pkcs11.SessionHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	w.created++
	return w.Cryptoki.CreateObject(s, t)
}

func (w *wrapping) DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
	w.gone++
	return w.Cryptoki.DestroyObject(s, o)
}

func (w *wrapping) CloseSession(s pkcs11.SessionHandle) error {
	w.sessions++
	return w.Cryptoki.CloseSession(s)
}

func (w *wrapping) WrapKey(s pkcs11.SessionHandle, by, k pkcs11.ObjectHandle) ([]byte, error) {
	if w.fail != nil {
		return nil, w.fail
	}
	return w.Cryptoki.WrapKey(s, by, k)
}

// TestWrapLeavesNothing: of each call the element's key, the key between and
// the token's key are destroyed, and a session in which it failed is closed.
func TestWrapLeavesNothing(t *testing.T) {
	tok, se := elementToken(t, small), &newRSA(t, 2048).PublicKey
	w := &wrapping{}
	defer tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { w.Cryptoki = in; return w })()
	p := mustPath(t, elementRef(keyref.SlotPurchaseMaster), keyref.Factor{1}, keyref.Factor{2})
	if _, err := tok.WrapTokenKey(t.Context(), p, se); err != nil || w.created != 1 || w.gone != 3 || w.sessions != 0 {
		t.Fatalf("%d made, %d destroyed, %d sessions closed, %v", w.created, w.gone, w.sessions, err)
	}
	w.fail = pkcs11.Error(pkcs11.CKR_FUNCTION_FAILED)
	_, err := tok.WrapTokenKey(t.Context(), p, se)
	refuses(t, "a failing wrap", err, hsm.ErrUnavailable, "transit.mpk-s.v2", "CKR_FUNCTION_FAILED")
	if w.gone != 6 || w.sessions != 1 {
		t.Errorf("after a failure: %d destroyed, %d sessions closed", w.gone, w.sessions)
	}
	w.fail, w.lacks = nil, pkcs11.Error(pkcs11.CKR_MECHANISM_INVALID)
	_, err = tok.WrapTokenKey(t.Context(), p, se)
	refuses(t, "no such mechanism", err, hsm.ErrUnavailable, "lacks the mechanism CKM_RSA_PKCS_OAEP")
	w.lacks = nil
	if _, err := tok.WrapTokenKey(t.Context(), p, se); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	allBack(t, tok, 1, 1)
}

func TestWrapSurvivesLogout(t *testing.T) {
	tok, se := elementToken(t), &newRSA(t, 2048).PublicKey
	if err := tok.Logout(); err != nil {
		t.Fatal(err)
	}
	p := mustPath(t, elementRef(keyref.SlotTACMaster), keyref.Factor{1}, keyref.Factor{2})
	if _, err := tok.WrapTokenKey(t.Context(), p, se); err != nil {
		t.Error(err)
	}
}
