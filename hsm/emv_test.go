package hsm_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony"
)

func emvRef(u keyref.Usage) keyref.Ref { return keyref.Ref{Realm: "visa", Usage: u, Version: 1} }

// emvValue is a key of its own for each usage.
func emvValue(u keyref.Usage, n int) []byte {
	k := bytes.Repeat([]byte{byte(len(u))}, n)
	return append(append([]byte(u), k...), k...)[:n]
}

var emvUsages = []keyref.Usage{keyref.ACMaster, keyref.IntegrityMaster, keyref.ConfidentialityMaster, keyref.DynamicMaster,
	keyref.CVC3Master, keyref.DeviceMaster, keyref.UserMaster, keyref.LimitedUseMaster, keyref.CVK}

// emvToken holds every EMV key of a realm as token objects, which are born,
// read back and required like all others; the ring holds the same values.
func emvToken(t *testing.T, change func(*hsm.Config)) (*hsm.Token, *softkey.Ring) {
	t.Helper()
	values, ring := map[keyref.Ref][]byte{}, &softkey.Ring{}
	for _, u := range emvUsages {
		values[emvRef(u)] = emvValue(u, 16)
	}
	for i, n := range []int{16, 24, 32} {
		values[keyref.Ref{Realm: "visa", Usage: keyref.ACMasterAES, Version: uint8(i + 1)}] = emvValue(keyref.ACMasterAES, n)
	}
	for r, v := range values {
		if err := ring.ImportScratch(t.Context(), r, v); err != nil {
			t.Fatal(err)
		}
	}
	return hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}, Values: values, Config: change}), ring
}

// emvKeys is what both can do.
type emvKeys interface {
	MAC3(context.Context, keyref.Chain, []byte) ([8]byte, error)
	EncipherBlocks(context.Context, keyref.Chain, bool, []byte) ([]byte, error)
	CMAC(context.Context, keyref.Chain, []byte) ([16]byte, error)
	Reveal(context.Context, keyref.Chain) ([]byte, error)
}

var (
	cardStep    = []byte{1, 2, 3, 4, 5, 6, 7, 8, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF9, 0xF8, 0xF7}
	sessionStep = []byte("any sixteen byte")
)

// TestEMVAgrees runs every operation at every depth on both, from one block to
// the most that the HSM takes, and twice, so that a kept key is met.
func TestEMVAgrees(t *testing.T) {
	tok, ring := emvToken(t, nil)
	ctx := t.Context()
	chains := []keyref.Chain{{Key: emvRef(keyref.CVK)}}
	for _, u := range emvUsages[:8] {
		c := keyref.Chain{Key: emvRef(u)}.Then(cardStep)
		chains = append(chains, c, c.Then(sessionStep), c.Then(cardStep).Then(sessionStep))
	}
	for _, c := range chains {
		for _, n := range []int{8, 16, 40, 2048, 8} {
			data := bytes.Repeat([]byte("0123456789abcdeX"), 128)[:n]
			a, err := tok.MAC3(ctx, c, data)
			b, err2 := ring.MAC3(ctx, c, data)
			if err := errors.Join(err, err2); err != nil || a != b {
				t.Errorf("%v at %d, %d bytes: MAC3: %v", c.Key, len(c.Steps), n, err)
			}
			for _, chained := range []bool{false, true} {
				a, err := tok.EncipherBlocks(ctx, c, chained, data)
				b, err2 := ring.EncipherBlocks(ctx, c, chained, data)
				if err := errors.Join(err, err2); err != nil || !bytes.Equal(a, b) || len(a) != n {
					t.Errorf("%v at %d, %d bytes: EncipherBlocks: %v", c.Key, len(c.Steps), n, err)
				}
			}
		}
	}
}

func TestCMACAgrees(t *testing.T) {
	tok, ring := emvToken(t, nil)
	long := append(bytes.Clone(cardStep), sessionStep...)
	for version := uint8(1); version <= 3; version++ {
		c := keyref.Chain{Key: keyref.Ref{Realm: "visa", Usage: keyref.ACMasterAES, Version: version}}
		for _, c := range []keyref.Chain{c.Then(long), c.Then(long).Then(long)} {
			for _, n := range []int{0, 1, 16, 100} {
				msg := bytes.Repeat([]byte{7}, n)
				a, err := tok.CMAC(t.Context(), c, msg)
				b, err2 := ring.CMAC(t.Context(), c, msg)
				if err := errors.Join(err, err2); err != nil || a != b {
					t.Errorf("version %d at %d, %d bytes: %v", version, len(c.Steps), n, err)
				}
			}
		}
		_, err := tok.CMAC(t.Context(), c.Then(cardStep), nil)
		_, err2 := ring.CMAC(t.Context(), c.Then(cardStep), nil)
		if (err == nil) != (version == 1) || (err2 == nil) != (version == 1) {
			t.Errorf("version %d, one block for a key: %v, %v", version, err, err2)
		}
	}
}

// TestReveal: what leaves is the key that computes inside, and nothing leaves
// but what is made to.
func TestReveal(t *testing.T) {
	for _, open := range []bool{false, true} {
		tok, ring := emvToken(t, func(c *hsm.Config) { c.RevealCardKeys = open })
		for _, u := range emvUsages {
			for depth := range 4 {
				c := keyref.Chain{Key: emvRef(u)}
				for i := range depth {
					c = c.Then([][]byte{cardStep, cardStep, sessionStep}[i])
				}
				phone := depth == 2 && (u == keyref.DeviceMaster || u == keyref.UserMaster || u == keyref.LimitedUseMaster)
				card := depth == 1 && open && (u == keyref.ACMaster || u == keyref.IntegrityMaster || u == keyref.ConfidentialityMaster)
				key, err := tok.Reveal(t.Context(), c)
				if (err == nil) != (phone || card) || err != nil && !errors.Is(err, hsm.ErrKeyUnfit) {
					t.Errorf("%v at %d: %v", u, depth, err)
				}
				if same, err := ring.Reveal(t.Context(), c); (err == nil) != phone || phone && !bytes.Equal(same, key) {
					t.Errorf("%v at %d: the ring differs: %v", u, depth, err)
				}
				if key != nil {
					check(t, tok, c, key)
				}
			}
		}
	}
}

// check compares a revealed key with what its chain computes.
func check(t *testing.T, tok emvKeys, c keyref.Chain, key []byte) {
	t.Helper()
	ring, ref := &softkey.Ring{}, emvRef(keyref.SessionKey)
	if err := ring.ImportScratch(t.Context(), ref, key); err != nil {
		t.Fatal(err)
	}
	a, err := tok.MAC3(t.Context(), c, sessionStep)
	b, err2 := ring.MAC3(t.Context(), keyref.Chain{Key: ref}, sessionStep)
	if err := errors.Join(err, err2); err != nil || a != b {
		t.Errorf("%v: the revealed key is another: %v", c.Key, err)
	}
}

// TestEMVRefusals: the two families of keys do not serve each other, and
// lengths are bounded.
func TestEMVRefusals(t *testing.T) {
	tok, ring := emvToken(t, nil)
	ctx := t.Context()
	for name, k := range map[string]emvKeys{"HSM": tok, "ring": ring} {
		ac := keyref.Chain{Key: emvRef(keyref.ACMaster)}
		for what, err := range map[string]error{
			"the master itself": third(k.MAC3(ctx, ac, sessionStep)), "blocks under it": third(k.EncipherBlocks(ctx, ac, false, sessionStep)),
			"half a block": third(k.MAC3(ctx, ac.Then(cardStep), sessionStep[:4])), "no block": third(k.MAC3(ctx, ac.Then(cardStep), nil)),
			"no blocks": third(k.EncipherBlocks(ctx, ac.Then(cardStep), true, nil)), "CMAC by Triple DES": third(k.CMAC(ctx, ac.Then(cardStep), nil)),
			"a key that is not there": third(k.MAC3(ctx, keyref.Chain{Key: keyref.Ref{Realm: "mc", Usage: keyref.CVK, Version: 1}}, sessionStep)),
			"a purse master":          third(k.MAC3(ctx, keyref.Chain{Key: keyref.Ref{Realm: "visa", Usage: keyref.PurchaseMaster, Version: 1}}.Then(cardStep), sessionStep)),
		} {
			if err == nil {
				t.Errorf("%s: %s was used", name, what)
			}
		}
	}
	path, _ := emvRef(keyref.ACMaster).Path(keyref.Factor{1})
	for what, err := range map[string]error{
		"ProcessMAC": third(tok.ProcessMAC(ctx, path, [8]byte{}, nil)), "FoldedMAC": third(tok.FoldedMAC(ctx, path, nil)),
		"RetailMAC": third(tok.RetailMAC(ctx, path, nil)), "Encipher": third(tok.Encipher(ctx, path, [8]byte{})),
		"Encipher under a CVK": third(tok.Encipher(ctx, keyref.Path{Key: emvRef(keyref.CVK)}, [8]byte{})),
	} {
		if !errors.Is(err, hsm.ErrKeyUnfit) {
			t.Errorf("%s with an EMV master: %v", what, err)
		}
	}
	if _, err := tok.MAC3(ctx, keyref.Chain{Key: emvRef(keyref.CVK)}, make([]byte, 2056)); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("a block too many: %v", err)
	}
}

func third[T any](_ T, err error) error { return err }

// TestEMVBirths makes keys inside and lists them.
func TestEMVBirths(t *testing.T) {
	refs := append(keyceremony.EMVKeys("visa"), emvRef(keyref.ACMasterAES))
	tok := hsmtest.New(t, hsmtest.Options{Refs: refs})
	long := append(bytes.Clone(cardStep), sessionStep...)
	if _, err := tok.CMAC(t.Context(), keyref.Chain{Key: emvRef(keyref.ACMasterAES)}.Then(long), nil); err != nil {
		t.Error(err)
	}
	list, err := tok.Inventory(t.Context())
	if err != nil || len(list) != len(refs) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, i := range list { // NSS does not remember where a secret key was made
		if i.Local != (hsmtest.On(t) != "nss") || i.Check == nil || !i.Spec.EMV {
			t.Errorf("%+v", i)
		}
	}
	twin := keyref.Ref{Realm: "visa", Usage: keyref.ACMasterAES, Version: 2}
	same := keyref.Ref{Realm: "visa", Usage: keyref.ACMasterAES, Version: 3}
	value := emvValue(keyref.ACMasterAES, 32)
	if err := errors.Join(tok.Import(t.Context(), twin, value), tok.Import(t.Context(), same, value)); err != nil {
		t.Fatal(err)
	}
	if err := tok.Require(t.Context(), twin, same); !errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("two equal AES masters: %v", err)
	}
}
