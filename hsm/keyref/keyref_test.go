package keyref_test

import (
	"errors"
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
		"transit.none.v1", " transit.mpk.v1", "transit.mpk.v1\x00", strings.Repeat("a", 33) + ".mpk.v1"} {
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
