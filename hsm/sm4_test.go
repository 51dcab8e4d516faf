package hsm_test

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// standIn are the numbers of AES. A key and a block of AES-128 have the form of
// SM4's, so that SoftHSM, which has no SM4, shows what is asked of a module that
// has: which derivations, which blocks, which attributes.
var standIn = hsm.SM4{KeyType: pkcs11.CKK_AES, Derive: pkcs11.CKM_AES_ECB_ENCRYPT_DATA, CBC: pkcs11.CKM_AES_CBC, ValueLen: true}

func sm4Ref(u keyref.Usage) keyref.Ref { return keyref.Ref{Realm: "city", Usage: u, Version: 1} }

func with(s hsm.SM4) func(*hsm.Config) { return func(c *hsm.Config) { c.SM4 = s } }

// chainedBy is the formula of the purse over AES, written down once more.
func chainedBy(key []byte, msg []byte) [4]byte {
	c, _ := aes.NewCipher(key)
	padded := append(append([]byte{}, msg...), 0x80)
	for len(padded)%16 != 0 {
		padded = append(padded, 0)
	}
	cipher.NewCBCEncrypter(c, make([]byte, 16)).CryptBlocks(padded, padded)
	return [4]byte(padded[len(padded)-16:])
}

func enciphered(key []byte, f [8]byte) []byte {
	c, _ := aes.NewCipher(key)
	out := keyref.Factor(f).Block()
	c.Encrypt(out, out)
	return out
}

func TestSM4ByVendorNumbers(t *testing.T) {
	master, mtk, dtk := sm4Ref(keyref.PurchaseMasterSM4), sm4Ref(keyref.TACMasterSM4), sm4Ref(keyref.TACSM4)
	a, b, c := []byte("purchase master."), []byte("master for TACs."), []byte("one card's own..")
	tok := hsmtest.New(t, hsmtest.Options{Config: with(standIn), Refs: []keyref.Ref{},
		Values: map[keyref.Ref][]byte{master: a, mtk: b, dtk: c}})
	f, input := keyref.Factor{1, 2, 3}, [8]byte{9, 8, 7}
	path, _ := master.Path(f)
	long := make([]byte, 33)
	macs, err := tok.ProcessMAC(t.Context(), path, input, []byte("one"), long)
	session := enciphered(enciphered(a, f), input)
	if err != nil || len(macs) != 2 || macs[0] != chainedBy(session, []byte("one")) || macs[1] != chainedBy(session, long) {
		t.Errorf("process MACs differ from the formula: %v", err)
	}
	path, _ = mtk.Path(f)
	if mac, err := tok.RetailMAC(t.Context(), path, long[:16]); err != nil || mac != chainedBy(enciphered(b, f), long[:16]) {
		t.Errorf("the TAC differs from the formula: %v", err)
	}
	if mac, err := tok.RetailMAC(t.Context(), keyref.Path{Key: dtk}, []byte("m")); err != nil || mac != chainedBy(c, []byte("m")) {
		t.Errorf("the card's own TAC differs from the formula: %v", err)
	}
	refusesSM4(t, tok, master, mtk, dtk)
}

func refusesSM4(t *testing.T, tok *hsm.Token, master, mtk, dtk keyref.Ref) {
	t.Helper()
	one, _ := master.Path(keyref.Factor{1})
	for name, call := range map[string]func() error{
		"a TAC under a purchase key": func() error { _, err := tok.RetailMAC(t.Context(), one, []byte("m")); return err },
		"a TAC under a master":       func() error { _, err := tok.RetailMAC(t.Context(), keyref.Path{Key: mtk}, []byte("m")); return err },
		"a process key of a TAC key": func() error {
			_, err := tok.ProcessMAC(t.Context(), keyref.Path{Key: dtk}, [8]byte{}, []byte("m"))
			return err
		},
		"folding":        func() error { _, err := tok.FoldedMAC(t.Context(), one, []byte("m")); return err },
		"a block":        func() error { _, err := tok.Encipher(t.Context(), one, [8]byte{}); return err },
		"keys of phones": func() error { _, err := tok.SlotKeys(t.Context(), one, []keyref.Factor{{}}); return err },
		"generating":     func() error { return tok.Generate(t.Context(), sm4Ref(keyref.LoadMasterSM4)) },
	} {
		if err := call(); !errors.Is(err, hsm.ErrKeyUnfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tok.ProcessMAC(t.Context(), one, [8]byte{}, make([]byte, 4000)); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("a long message: %v", err)
	}
}

// TestSM4Missing: a module without SM4 says so when a key is made or needed.
func TestSM4Missing(t *testing.T) {
	ref := sm4Ref(keyref.PurchaseMasterSM4)
	key := make([]byte, 16)
	for name, s := range map[string]hsm.SM4{"not configured": {}, "not in the module": {KeyType: 0x80000001, Derive: 0x80000002, CBC: 0x80000003}} {
		tok := hsmtest.New(t, hsmtest.Options{Config: with(s), Refs: []keyref.Ref{}})
		for what, err := range map[string]error{"import": tok.Import(t.Context(), ref, key), "scratch": tok.ImportScratch(t.Context(), ref, key),
			"require": tok.Require(t.Context(), ref)} {
			if !errors.Is(err, hsm.ErrUnavailable) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// TestSM4MastersDiffer: equal masters are refused, as those of Triple DES are.
func TestSM4MastersDiffer(t *testing.T) {
	a, b := sm4Ref(keyref.PurchaseMasterSM4), sm4Ref(keyref.LoadMasterSM4)
	tok := hsmtest.New(t, hsmtest.Options{Config: with(standIn), Refs: []keyref.Ref{}})
	for _, r := range []keyref.Ref{a, b} {
		if err := tok.Import(t.Context(), r, []byte("the same 16 byte")); err != nil {
			t.Fatal(err)
		}
	}
	if err := tok.Require(t.Context(), a, b); !errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("equal masters: %v", err)
	}
	if err := tok.Require(t.Context(), a); err != nil {
		t.Error(err)
	}
}
