package softsam_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/terminal/psam"
	"github.com/tapvault/tapvault/terminal/softsam"
)

const seed = softsam.Marker + "of a rainy tuesday"

var (
	phones = keyref.Ref{Realm: "transit", Usage: keyref.SlotPurchaseMaster, Version: 3}
	cards  = keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: 1}
)

func config() softsam.Config {
	return softsam.Config{Seed: seed, Realm: "transit", Cards: 1, Phones: 3, Terminal: [6]byte{1}}
}

func module(t testing.TB, c softsam.Config) *psam.PSAM {
	t.Helper()
	m, err := softsam.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func in(levels int, version byte) cryptogram.SAMInit {
	f := []keyref.Factor{{1, 2, 3, 4, 5, 6, 7, 8}, {2}, {3}}
	return cryptogram.SAMInit{Rand: [4]byte{9, 8, 7, 6}, Seq: 5, Amount: 300, Type: cryptogram.PurchaseCAPP,
		At: cryptogram.DateTime{0x20, 0x26, 0x03, 0x02, 0x08, 0x30, 0x00}, KeyVersion: version, Factors: f[:levels]}
}

func init70(s cryptogram.SAMInit) apdu.Command {
	return apdu.Command{CLA: 0x80, INS: 0x70, Data: s.Bytes(), Ne: 8}
}

// TestPurchase: the module answers what a ring with the same masters computes.
func TestPurchase(t *testing.T) {
	for name, tc := range map[string]struct {
		master keyref.Ref
		s      cryptogram.SAMInit
	}{"phone": {phones, in(3, 3)}, "card": {cards, in(2, 1)}} {
		t.Run(name, func(t *testing.T) {
			m, ring := module(t, config()), &softkey.Ring{}
			key, err := softsam.Master(seed, tc.master)
			if err == nil {
				err = ring.ImportScratch(t.Context(), tc.master, key[:])
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := apdu.Exchange(t.Context(), m, init70(tc.s), 8)
			if err != nil {
				t.Fatal(err)
			}
			path, err := tc.s.Path(tc.master)
			if err != nil {
				t.Fatal(err)
			}
			mac1, mac2, err := cryptogram.PurchaseMACs(t.Context(), ring, path, tc.s.Purchase([6]byte{1}, binary.BigEndian.Uint32(got)))
			if err != nil || [4]byte(got[4:]) != mac1 {
				t.Fatalf("MAC1 differs (%v)", err)
			}
			if _, err := apdu.Exchange(t.Context(), m, apdu.Command{CLA: 0x80, INS: 0x72, Data: mac2[:]}, 0); err != nil {
				t.Errorf("MAC2: %v", err)
			}
		})
	}
}

// TestUsageAndLength: the top bits of a key's usage are how many factors 8070
// brings; a key of one length never serves another.
func TestUsageAndLength(t *testing.T) {
	m := module(t, config())
	for name, s := range map[string]cryptogram.SAMInit{
		"a phone's key at two levels": in(2, 3), "a card's key at three": in(3, 1), "at one level": in(1, 3),
	} {
		var status apdu.StatusError
		if _, err := apdu.Exchange(t.Context(), m, init70(s), 8); !errors.As(err, &status) || status.SW != apdu.KeyNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := config()
	old.Phones = 0 // a terminal whose module has not got the phones' key
	if _, err := apdu.Exchange(t.Context(), module(t, old), init70(in(3, 3)), 8); err == nil {
		t.Error("a module without the key serves a phone")
	}
}

func TestRealMastersAreRefused(t *testing.T) {
	own := map[keyref.Ref][16]byte{}
	for _, ref := range []keyref.Ref{phones, cards} {
		key, err := softsam.Master(seed, ref)
		if err != nil {
			t.Fatal(err)
		}
		own[ref] = key
	}
	c := config()
	c.Masters = own
	module(t, c)
	foreign := map[keyref.Ref][16]byte{phones: own[phones], cards: own[phones]}
	for name, edit := range map[string]func(c *softsam.Config){
		"another master": func(c *softsam.Config) { c.Masters = map[keyref.Ref][16]byte{phones: {1}, cards: own[cards]} },
		"a swapped one":  func(c *softsam.Config) { c.Masters = foreign },
		"one is missing": func(c *softsam.Config) { c.Masters = map[keyref.Ref][16]byte{phones: own[phones]} },
		"none":           func(c *softsam.Config) { c.Masters = map[keyref.Ref][16]byte{} },
		"no marker":      func(c *softsam.Config) { c.Seed = "0123456789ABCDEF0123456789ABCDEF" },
		"no seed":        func(c *softsam.Config) { c.Seed = "" },
		"only a marker":  func(c *softsam.Config) { c.Seed = softsam.Marker },
		"another seed":   func(c *softsam.Config) { c.Seed, c.Masters = softsam.Marker+"of a sunny monday", own },
	} {
		c := config()
		edit(&c)
		if _, err := softsam.New(t.Context(), c); !errors.Is(err, softsam.ErrNotSimulated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
