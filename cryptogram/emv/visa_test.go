package emv_test

import (
	"errors"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestVisaScript sends a PIN to a Visa card, its keys borrowed from a module,
// and compares with the same under the session keys themselves.
func TestVisaScript(t *testing.T) {
	values := map[keyref.Ref][]byte{ref(keyref.ACMaster): unhex(published), ref(keyref.IntegrityMaster): unhex("00112233445566778899AABBCCDDEEFF"),
		ref(keyref.ConfidentialityMaster): unhex("FEDCBA98765432100123456789ABCDEF")}
	closed := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: values})
	open := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: values, Config: func(c *hsm.Config) { c.RevealCardKeys = true }})
	p, c, atc := emv.Profiles["visa-18"], card(t, "4111111111111111", ""), [2]byte{0x12, 0x34}
	at := func(u keyref.Usage) keyref.Chain {
		chain, err := p.Card(ref(u), c)
		if err != nil {
			t.Fatal(err)
		}
		return chain
	}
	if _, err := emv.VisaPIN(t.Context(), closed, at(keyref.ACMaster), "1234", ""); !errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("a module that was not told otherwise: %v", err)
	}
	block, err := emv.VisaPIN(t.Context(), open, at(keyref.ACMaster), "1234", "")
	if err != nil {
		t.Fatal(err)
	}
	s := emv.Script{Header: [5]byte{0x84, 0x24, 0, 2, 0x18}, ATC: atc}
	err = emv.VisaScript(t.Context(), open, at(keyref.ConfidentialityMaster), atc, func(k emv.Keys) (err error) {
		s.Data, err = emv.ConfidentialVisa.Encipher(t.Context(), k, keyref.Chain{}, block[:])
		return err
	})
	var m [8]byte
	err2 := emv.VisaScript(t.Context(), open, at(keyref.IntegrityMaster), atc, func(k emv.Keys) (err error) {
		m, err = s.MAC(t.Context(), k, keyref.Chain{})
		return err
	})
	if err := errors.Join(err, err2); err != nil || len(s.Data) != 16 {
		t.Fatal(len(s.Data), err)
	}
	own := keyref.Chain{Key: ref(keyref.SessionKey)}
	for u, same := range map[keyref.Usage]func(k emv.Keys) (bool, error){
		keyref.ConfidentialityMaster: func(k emv.Keys) (bool, error) {
			b, err := emv.ConfidentialVisa.Encipher(t.Context(), k, own, block[:])
			return string(b) == string(s.Data), err
		},
		keyref.IntegrityMaster: func(k emv.Keys) (bool, error) {
			b, err := s.MAC(t.Context(), k, own)
			return b == m, err
		},
	} {
		key, err := open.Reveal(t.Context(), at(u))
		if err != nil {
			t.Fatal(err)
		}
		session, ring := emv.VisaSession((*[16]byte)(key), atc), &softkey.Ring{}
		if err := ring.ImportScratch(t.Context(), own.Key, session[:]); err != nil {
			t.Fatal(err)
		}
		if ok, err := same(ring); err != nil || !ok {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// TestVisaScriptRefusals: what is borrowed is bounded, and AES is none of it.
func TestVisaScriptRefusals(t *testing.T) {
	lender := &refusing{left: 1}
	err := emv.VisaScript(t.Context(), lender, keyref.Chain{}, [2]byte{}, func(k emv.Keys) error {
		if _, err := k.CMAC(t.Context(), keyref.Chain{}, nil); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("CMAC: %v", err)
		}
		if _, err := k.EncipherBlocks(t.Context(), keyref.Chain{}, true, make([]byte, 7)); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("half a block: %v", err)
		}
		a, err := k.EncipherBlocks(t.Context(), keyref.Chain{}, true, make([]byte, 16))
		b, err2 := k.EncipherBlocks(t.Context(), keyref.Chain{}, false, make([]byte, 16))
		if err := errors.Join(err, err2); err != nil || string(a) == string(b) || string(a[:8]) != string(b[8:]) {
			t.Errorf("chained and not: %v", err)
		}
		return errRefusing
	})
	if !errors.Is(err, errRefusing) {
		t.Errorf("the error of use: %v", err)
	}
	if _, err := emv.VisaPIN(t.Context(), &refusing{left: 2}, keyref.Chain{}, "1234", ""); !errors.Is(err, emv.ErrMalformed) {
		t.Errorf("a short key: %v", err)
	}
	if _, err := emv.VisaPIN(t.Context(), &refusing{}, keyref.Chain{}, "1234", ""); !errors.Is(err, errRefusing) {
		t.Errorf("no key: %v", err)
	}
}
