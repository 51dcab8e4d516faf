package keyref_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/keyref"
)

func TestParse(t *testing.T) {
	for label, want := range map[string]keyref.Ref{
		"transit.mpk.v1":       {Realm: "transit", Usage: keyref.PurchaseMaster, Version: 1},
		"a.mpk-s.v255":         {Realm: "a", Usage: keyref.SlotPurchaseMaster, Version: 255},
		"city-2.dtk-retail.v3": {Realm: "city-2", Usage: keyref.RetailTAC, Version: 3},
		"pan-seal.v1":          {Usage: keyref.PANSeal, Version: 1},
	} {
		got, err := keyref.Parse(label)
		if err != nil || got != want || got.Label() != label || got.String() != label {
			t.Errorf("Parse(%q) = %+v, %v", label, got, err)
		}
	}
	for _, label := range []string{"", ".", "..", "mpk.v1", "transit.pan-seal.v1", "transit.mpk.v0", "transit.mpk.v256",
		"transit.mpk.v01", "transit.mpk.1", "transit.mpk.v+1", "transit.mpk.v1.2", "Transit.mpk.v1", "-a.mpk.v1", ".mpk.v1",
		"transit.none.v1", "none.v1", " transit.mpk.v1", "transit.mpk.v1\x00", strings.Repeat("a", 33) + ".mpk.v1"} {
		if got, err := keyref.Parse(label); !errors.Is(err, keyref.ErrMalformed) {
			t.Errorf("Parse(%q) = %+v, %v", label, got, err)
		}
	}
}

// FuzzParse: what parses prints as it was, and names a key that can exist.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"transit.mpk.v1", "pan-seal.v1", "pan-seal.v1.2", "a.b.c.d", "transit.mpk.v01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, label string) {
		r, err := keyref.Parse(label)
		if err != nil {
			return
		}
		if !r.Valid() || r.Label() != label {
			t.Errorf("Parse(%q) = %+v, which prints as %q", label, r, r.Label())
		}
	})
}

func TestPath(t *testing.T) {
	r := keyref.Ref{Realm: "transit", Usage: keyref.PurchaseMaster, Version: 1}
	p, err := r.Path(keyref.Factor{1}, keyref.Factor{2})
	if err != nil || p.Levels != 2 {
		t.Fatalf("Path: %+v, %v", p, err)
	}
	deeper, err := p.Append(keyref.Factor{3})
	same, err2 := r.Path(keyref.Factor{1}, keyref.Factor{2}, keyref.Factor{3})
	if err := errors.Join(err, err2); err != nil || deeper != same || p.Levels != 2 {
		t.Errorf("Append: %+v, %v", deeper, err)
	}
	if _, err := deeper.Append(keyref.Factor{4}); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("a fourth level: %v", err)
	}
	if _, err := r.Path(make([]keyref.Factor, 4)...); !errors.Is(err, keyref.ErrMalformed) {
		t.Errorf("four levels: %v", err)
	}
}

func TestChain(t *testing.T) {
	both := []byte{1, 2, 3, 4, 5, 6, 7, 8, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF9, 0xF8, 0xF7}
	any16, any32 := make([]byte, 16), make([]byte, 32)
	at := func(u keyref.Usage, steps ...[]byte) keyref.Chain {
		return keyref.Chain{Key: keyref.Ref{Realm: "visa", Usage: u, Version: 1}, Steps: steps}
	}
	for name, tc := range map[string]struct {
		c  keyref.Chain
		t  keyref.Type
		ok bool
	}{
		"a card's key":              {at(keyref.ACMaster, both), keyref.DES3, true},
		"a session key":             {at(keyref.ACMaster, both, any16), keyref.DES3, true},
		"the master itself":         {at(keyref.ACMaster), keyref.DES3, false},
		"three steps":               {at(keyref.ACMaster, both, both, any16), keyref.DES3, true},
		"four steps":                {at(keyref.ACMaster, both, both, both, any16), keyref.DES3, false},
		"not a card's key on top":   {at(keyref.ACMaster, any16, any16), keyref.DES3, false},
		"a long step":               {at(keyref.ACMaster, any32), keyref.DES3, false},
		"AES with a Triple DES key": {at(keyref.ACMaster, both), keyref.AES, false},
		"AES":                       {at(keyref.ACMasterAES, any16, any32), keyref.AES, true},
		"a short step":              {at(keyref.ACMasterAES, any16[:8]), keyref.AES, false},
		"a stored key":              {at(keyref.CVK), keyref.DES3, true},
		"derived from a CVK":        {at(keyref.CVK, both), keyref.DES3, false},
		"a purse master":            {at(keyref.PurchaseMaster, both), keyref.DES3, false},
		"no usage":                  {at("none", both), keyref.DES3, false},
	} {
		if err := tc.c.Check(tc.t); (err == nil) != tc.ok || err != nil && !errors.Is(err, keyref.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := at(keyref.ACMaster, both)
	one, two := c.Then(any16), c.Then(both)
	if len(c.Steps) != 1 || &one.Steps[1][0] == &two.Steps[1][0] {
		t.Error("Then changed the chain that it was given")
	}
	want, _ := c.Key.Path(keyref.Factor(both[:8]))
	if one.Path() != want {
		t.Errorf("Path: %+v", one.Path())
	}
}

// TestSM4Paths: a key of SM4 has one use, and its masters are used below themselves.
func TestSM4Paths(t *testing.T) {
	for usage, want := range map[keyref.Usage][2][5]bool{ // for TACs, for process keys; by levels
		keyref.PurchaseMasterSM4:  {{}, {true, true, true, true, false}},
		keyref.LoadMasterSM4:      {{}, {true, true, true, true, false}},
		keyref.UnloadMasterSM4:    {{}, {true, true, true, true, false}},
		keyref.OverdraftMasterSM4: {{}, {true, true, true, true, false}},
		keyref.TACMasterSM4:       {{false, true, true, true, false}, {}},
		keyref.TACSM4:             {{true}, {}},
		keyref.PurchaseMaster:     {}, keyref.TACMaster: {}, keyref.SM4Seal: {}, "none": {},
	} {
		for i, process := range []bool{false, true} {
			for levels := range want[i] {
				p := keyref.Path{Key: keyref.Ref{Realm: "transit", Usage: usage, Version: 1}, Levels: uint8(levels)}
				err := p.CheckSM4(process)
				if ok := want[i][levels]; ok != (err == nil) || !ok && !errors.Is(err, keyref.ErrMalformed) {
					t.Errorf("%s at %d levels, process key %v: %v", usage, levels, process, err)
				}
			}
		}
	}
	p, err := keyref.Ref{Usage: keyref.TACMasterSM4}.Path(keyref.Factor{0x01, 7: 0xFF}, keyref.Factor{0x80})
	want := "[01000000000000FFFEFFFFFFFFFFFF00 80000000000000007FFFFFFFFFFFFFFF]"
	if got := fmt.Sprintf("%X", p.Steps()); err != nil || got != want {
		t.Errorf("steps %s, want %s (%v)", got, want, err)
	}
}

// TestUsagesOfSM4: what has a counterpart leads to it, and a key that only agrees is no
// master.
func TestUsagesOfSM4(t *testing.T) {
	for usage, want := range map[keyref.Usage]keyref.Usage{keyref.PurchaseMaster: keyref.PurchaseMasterSM4, keyref.LoadMaster: keyref.LoadMasterSM4,
		keyref.UnloadMaster: keyref.UnloadMasterSM4, keyref.OverdraftMaster: keyref.OverdraftMasterSM4, keyref.TACMaster: keyref.TACMasterSM4,
		keyref.FoldedTAC: keyref.TACSM4, keyref.RetailTAC: keyref.TACSM4, keyref.SlotPurchaseMaster: "", keyref.Intake: ""} {
		if got, ok := usage.SM4(); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", usage, got, ok)
		}
	}
	for usage, want := range map[keyref.Usage]bool{keyref.PurchaseMaster: true, keyref.ACMasterAES: true, keyref.TACMasterSM4: true,
		keyref.Intake: false, keyref.TACSM4: false, keyref.CVK: false, keyref.PANSeal: false} {
		if spec, ok := usage.Spec(); !ok || spec.Master() != want {
			t.Errorf("%s is a master: %v, %v", usage, spec.Master(), ok)
		}
	}
	for usage, want := range map[keyref.Usage]bool{keyref.SlotPurchaseMaster: true, keyref.SlotTACMaster: true, keyref.PurchaseMaster: false, keyref.TACMaster: false} {
		if usage.Slot() != want {
			t.Errorf("%s is for slots: %v", usage, usage.Slot())
		}
	}
}

func TestSpecs(t *testing.T) {
	for _, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.TACMaster, keyref.SlotTACMaster} {
		if s, ok := u.Spec(); !ok || s.Type != keyref.DES3 || s.Role != keyref.Derive || !s.Realm {
			t.Errorf("%s: %+v, %v; a master only derives", u, s, ok)
		}
	}
	if _, ok := keyref.Usage("none").Spec(); ok {
		t.Error("an unknown usage has a spec")
	}
	if c := (keyref.CheckValue{0xab, 0, 1}).String(); c != "AB0001" {
		t.Errorf("check value prints as %s", c)
	}
}
