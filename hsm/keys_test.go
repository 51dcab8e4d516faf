//go:build cgo

package hsm_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony"
)

var (
	des24 = []byte("L-half..R-half..L-half..")
	aes32 = bytes.Repeat([]byte("0123456789abcdef"), 2)
)

func attr(typ uint, v any) *pkcs11.Attribute { return pkcs11.NewAttribute(typ, v) }

func TestNoKey(t *testing.T) {
	err := needs(t, bare(t), ref(keyref.PurchaseMaster))
	refuses(t, "no key", err, hsm.ErrKeyMissing, "requiring transit.mpk.v1", `no object is labelled "transit.mpk.v1": generate or import it`)
	if fault.KindOf(err) != fault.HSMKey {
		t.Errorf("kind %v", fault.KindOf(err))
	}
}

func TestTwoKeysOfOneLabel(t *testing.T) {
	tok := bare(t)
	for i := range 2 { // NSS takes two keys of one id for one key
		if err := tok.Plant("transit.mpk.v1", keyref.DES3, keyref.Derive, des24, attr(pkcs11.CKA_ID, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	err := needs(t, tok, ref(keyref.PurchaseMaster))
	refuses(t, "two keys", err, hsm.ErrKeyAmbiguous, `two or more objects are labelled "transit.mpk.v1": destroy all but the right one`)
}

func TestUnfitKeys(t *testing.T) {
	mpk, par, seal := ref(keyref.PurchaseMaster), ref(keyref.PARKey), ref(keyref.PANSeal)
	for _, c := range []struct {
		name   string
		ref    keyref.Ref
		typ    keyref.Type
		role   keyref.Role
		value  []byte
		change []*pkcs11.Attribute
		says   string
	}{
		{"extractable", mpk, keyref.DES3, keyref.Derive, des24, []*pkcs11.Attribute{attr(pkcs11.CKA_EXTRACTABLE, true)},
			`"transit.mpk.v1" is extractable: destroy it and make it anew`},
		{"not sensitive", mpk, keyref.DES3, keyref.Derive, des24, []*pkcs11.Attribute{attr(pkcs11.CKA_SENSITIVE, false)},
			`"transit.mpk.v1" is not sensitive:`},
		{"not private", mpk, keyref.DES3, keyref.Derive, des24, []*pkcs11.Attribute{attr(pkcs11.CKA_PRIVATE, false)},
			`"transit.mpk.v1" is readable without login:`},
		{"two usages", mpk, keyref.DES3, keyref.Derive, des24, []*pkcs11.Attribute{attr(pkcs11.CKA_ENCRYPT, true)},
			`"transit.mpk.v1" may also encrypt:`},
		{"another usage", par, keyref.HMAC, keyref.Derive, aes32, nil, `"par.v1" may also derive, may not sign:`},
		{"no usage", mpk, keyref.DES3, 0, des24, nil, `"transit.mpk.v1" may not derive:`},
		{"all wrong", mpk, keyref.DES3, keyref.Derive, des24, []*pkcs11.Attribute{attr(pkcs11.CKA_EXTRACTABLE, true),
			attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_WRAP, true)},
			`"transit.mpk.v1" is not sensitive, is extractable, may also wrap:`},
		{"another type", mpk, keyref.AES256, keyref.Derive, aes32, nil, `"transit.mpk.v1" is not a DES3 secret key:`},
		{"a DES3 key for AES", seal, keyref.DES3, keyref.Encrypt, des24, nil, `"pan-seal.v1" is not an AES secret key:`},
		{"a short key", seal, keyref.AES256, keyref.Encrypt, aes32[:16], nil, `"pan-seal.v1" has 16 bytes instead of 32:`},
		{"a long key", par, keyref.HMAC, keyref.Sign, append(aes32, 1), nil, `"par.v1" has 33 bytes instead of 32:`},
		{"a secret key for a pair", ref(keyref.CredSign), keyref.HMAC, keyref.Sign, aes32, nil, `"cred-sign.v1" is not an EC private key:`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := bare(t)
			if err := tok.Plant(c.ref.Label(), c.typ, c.role, c.value, c.change...); err != nil {
				t.Fatal(err)
			}
			err := needs(t, tok, c.ref)
			refuses(t, c.name, err, hsm.ErrKeyUnfit, "requiring "+c.ref.Label(), c.says)
			if fault.KindOf(err) != fault.HSMKey {
				t.Errorf("kind %v", fault.KindOf(err))
			}
			if _, err := tok.HMAC(t.Context(), c.ref, []byte("x")); !errors.Is(err, hsm.ErrKeyMissing) {
				t.Errorf("a refused key can be used: %v", err)
			}
		})
	}
}

func TestHalfKeys(t *testing.T) {
	tok := bare(t)
	seal := ref(keyref.PANSeal)
	if err := tok.Plant(seal.Label(), keyref.AES256, keyref.Encrypt, aes32); err != nil {
		t.Fatal(err)
	}
	refuses(t, "no opener", needs(t, tok, seal), hsm.ErrKeyMissing, `"pan-seal.v1.2"`)
	if err := tok.Plant(seal.SecondLabel(), keyref.AES256, keyref.Decrypt, bytes.Repeat([]byte{7}, 32)); err != nil {
		t.Fatal(err)
	}
	refuses(t, "another opener", needs(t, tok, seal), hsm.ErrKeyUnfit,
		`what "pan-seal.v1" seals, "pan-seal.v1.2" does not open`)

	sign := ref(keyref.CredSign)
	if err := tok.Generate(t.Context(), sign); err != nil {
		t.Fatal(err)
	}
	if err := tok.Remove(sign.Label(), pkcs11.CKO_PUBLIC_KEY); err != nil {
		t.Fatal(err)
	}
	refuses(t, "no public key", needs(t, tok, sign), hsm.ErrKeyMissing, `no public key is labelled "cred-sign.v1"`)
	p384 := []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
	if err := tok.PlantPair("jwt-sign.v1", "jwt-sign.v1", p384); err != nil {
		t.Fatal(err)
	}
	refuses(t, "another curve", needs(t, tok, ref(keyref.JWTSign)), hsm.ErrKeyUnfit, "is not on the curve P-256")
}

func TestTwoPairsOfOneLabel(t *testing.T) {
	tok := bare(t)
	sign := ref(keyref.CredSign)
	for i := range 2 {
		if err := tok.PlantPair(sign.Label(), fmt.Sprint(i), []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, "two private keys", needs(t, tok, sign), hsm.ErrKeyAmbiguous, "cred-sign.v1")
}

func TestEqualMasters(t *testing.T) {
	value := []byte("sixteen letters!")
	parity := bytes.Clone(value)
	parity[3] ^= 1 // DES does not use this bit
	slot, card := ref(keyref.SlotPurchaseMaster), ref(keyref.PurchaseMaster)
	tok := bare(t)
	for r, v := range map[keyref.Ref][]byte{slot: value, card: parity} {
		if err := tok.Import(t.Context(), r, v); err != nil {
			t.Fatal(err)
		}
	}
	says := []string{`the masters "transit.mpk-s.v1" and "transit.mpk.v1" are equal: make one of them anew`}
	refuses(t, "together", tok.Require(t.Context(), slot, card), hsm.ErrKeyUnfit, says...)
	if err := tok.Require(t.Context(), slot); err != nil {
		t.Fatal(err)
	}
	refuses(t, "one after the other", tok.Require(t.Context(), card), hsm.ErrKeyUnfit, says...)
}

// TestCardRealms: keys of realms without diversification are one card's own,
// and a published card has equal keys for all functions.
func TestCardRealms(t *testing.T) {
	value := []byte("sixteen letters!")
	mpk := keyref.Ref{Realm: "log", Usage: keyref.PurchaseMaster, Version: 1}
	mlk := keyref.Ref{Realm: "log", Usage: keyref.LoadMaster, Version: 1}
	hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: map[keyref.Ref][]byte{mpk: value, mlk: value},
		Config: func(c *hsm.Config) { c.CardRealms = []string{"log"} }})

	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: map[keyref.Ref][]byte{mpk: value},
		Config: func(c *hsm.Config) { c.CardRealms = []string{"log"} }})
	if err := tok.Import(t.Context(), ref(keyref.PurchaseMaster), value); err != nil {
		t.Fatal(err)
	}
	refuses(t, "a card's key as master", tok.Require(t.Context(), ref(keyref.PurchaseMaster)), hsm.ErrKeyUnfit, "are equal")
}

func TestRequireIsAllOrNothing(t *testing.T) {
	tok := bare(t)
	if err := tok.Generate(t.Context(), ref(keyref.PARKey)); err != nil {
		t.Fatal(err)
	}
	refuses(t, "one missing", tok.Require(t.Context(), ref(keyref.PARKey), ref(keyref.PANIndex)), hsm.ErrKeyMissing, "pan-index.v1")
	_, err := tok.HMAC(t.Context(), ref(keyref.PARKey), []byte("x"))
	refuses(t, "its neighbour", err, hsm.ErrKeyMissing, "was not asked for at start")
	if err := tok.Require(t.Context(), keyref.Ref{Usage: "mpk", Version: 1}); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("a reference that names no key: %v", err)
	}
	for range 3 { // again and again is allowed
		if err := tok.Require(t.Context(), ref(keyref.PARKey)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBirthsRefuseExistingLabels(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	for _, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.PANSeal, keyref.PARKey, keyref.CredSign} {
		refuses(t, string(u), tok.Generate(t.Context(), ref(u)), hsm.ErrKeyExists, ref(u).Label(), "never overwritten")
	}
	refuses(t, "import", tok.Import(t.Context(), ref(keyref.PurchaseMaster), aes32[:16]), hsm.ErrKeyExists, "transit.mpk.v1")
	twin := keyref.Ref{Usage: keyref.RangeKEK, Version: 9}
	if err := tok.Plant(twin.SecondLabel(), keyref.AES256, keyref.Decrypt, aes32); err != nil {
		t.Fatal(err)
	}
	refuses(t, "a twin's label", tok.Generate(t.Context(), twin), hsm.ErrKeyExists, "range-kek.v9.2")
}

func TestImportsRefuseWrongLengths(t *testing.T) {
	tok := bare(t)
	for _, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.PANSeal, keyref.PARKey, keyref.CredSign} {
		for _, n := range []int{0, 8, 24, 33} {
			if err := tok.Import(t.Context(), ref(u), make([]byte, n)); !errors.Is(err, keyref.ErrMalformed) {
				t.Errorf("%s of %d bytes: %v", u, n, err)
			}
		}
	}
	if list, err := tok.Inventory(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("refused imports left %d keys, %v", len(list), err)
	}
}

func TestImportedSecrets(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: map[keyref.Ref][]byte{
		ref(keyref.PANSeal): aes32, ref(keyref.PARKey): aes32, ref(keyref.PurchaseMaster): aes32[:16]}})
	list, err := tok.Inventory(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	for _, k := range list {
		if k.Local || k.Check == nil {
			t.Errorf("an imported key: %+v", k)
		}
		if k.Spec.Type == keyref.DES3 {
			want := tdes([16]byte(aes32[:16]), [8]byte{})
			if !bytes.Equal(k.Check[:], want[:3]) {
				t.Errorf("check value %v, want %X", k.Check, want[:3])
			}
		}
	}
}

// failing fails the n-th CopyObject.
type failing struct {
	hsm.Cryptoki
	copies *int
	at     int
}

func (f failing) CopyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, t []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	if *f.copies++; *f.copies == f.at {
		return 0, pkcs11.Error(pkcs11.CKR_DEVICE_MEMORY)
	}
	return f.Cryptoki.CopyObject(s, o, t)
}

func TestNoHalfBirths(t *testing.T) {
	tok := bare(t)
	for at := 1; at <= 2; at++ {
		n := 0
		restore := tok.Inject(func(c hsm.Cryptoki) hsm.Cryptoki { return failing{c, &n, at} })
		refuses(t, fmt.Sprint("copy ", at), tok.Generate(t.Context(), ref(keyref.PANSeal)), hsm.ErrUnavailable, "CKR_DEVICE_MEMORY")
		restore()
		list, err := tok.Inventory(t.Context())
		strays, err2 := tok.Strays(t.Context())
		if err := errors.Join(err, err2); err != nil || len(list)+len(strays) != 0 {
			t.Errorf("copy %d failed: %d keys and %v stayed, %v", at, len(list), strays, err)
		}
	}
	if err := tok.Generate(t.Context(), ref(keyref.PANSeal)); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

func TestStrays(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	if strays, err := tok.Strays(t.Context()); err != nil || len(strays) != 0 {
		t.Fatalf("strays among ours: %v, %v", strays, err)
	}
	for _, label := range []string{"", "somebody else's", "par.v1.2"} {
		if err := tok.Plant(label, keyref.HMAC, keyref.Sign, aes32); err != nil {
			t.Fatal(err)
		}
	}
	strays, err := tok.Strays(t.Context())
	if err != nil || len(strays) != 3 {
		t.Fatalf("strays: %v, %v", strays, err)
	}
	for i, says := range []string{`labelled "par.v1.2"`, `labelled "somebody else's"`, "without a label"} {
		if !strings.Contains(strays[i], says) {
			t.Errorf("stray %d is %q", i, strays[i])
		}
	}
}

func TestScratch(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	r := keyref.Ref{Realm: "log", Usage: keyref.PurchaseMaster, Version: 1}
	p, _ := r.Path(keyref.Factor{1})
	key := []byte("sixteen letters!")
	for range 2 { // the same name for another key: nothing cached may survive
		if err := tok.ImportScratch(t.Context(), r, key); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			macs, err := tok.ProcessMAC(t.Context(), p, [8]byte{}, []byte("m"))
			if err != nil || macs[0] != softMAC(tdes(softDiversify([16]byte(key), keyref.Factor{1}), [8]byte{}), []byte("m")) {
				t.Fatalf("MAC %v, %v", macs, err)
			}
		}
		refuses(t, "again", tok.ImportScratch(t.Context(), r, key), hsm.ErrKeyExists, "log.mpk.v1")
		if err := tok.Forget(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		key[0] ^= 0x10
	}
	refuses(t, "forgotten", tok.Forget(t.Context(), r), hsm.ErrKeyMissing, "log.mpk.v1")
	refuses(t, "a stored key", tok.Forget(t.Context(), ref(keyref.PurchaseMaster)), hsm.ErrKeyMissing, "is no scratch key")
	refuses(t, "another type", tok.ImportScratch(t.Context(), keyref.Ref{Usage: keyref.PARKey, Version: 2}, aes32), hsm.ErrKeyUnfit, "no DES3 key")
	if list, err := tok.Inventory(t.Context()); err != nil || len(list) != len(keyceremony.ServiceKeys(hsmtest.Realm)) {
		t.Errorf("scratch keys are in the inventory: %d, %v", len(list), err)
	}
}
