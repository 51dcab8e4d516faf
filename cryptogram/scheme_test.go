package cryptogram_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

func rule(t testing.TB, text string) cryptogram.FactorRule {
	t.Helper()
	r, err := cryptogram.ParseFactorRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func scheme(t testing.TB, factors ...string) cryptogram.Scheme {
	t.Helper()
	s := cryptogram.Scheme{Realm: "transit", Algorithms: map[byte]string{0: cryptogram.TDES, 1: cryptogram.TDES},
		KeyVersions: map[byte]uint8{1: 1, 0x41: 2}, TAC: cryptogram.TACFold, OverdraftTAC: cryptogram.TACDirect}
	for _, f := range factors {
		s.Factors = append(s.Factors, rule(t, f))
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

var card = cryptogram.Card{
	Issuer: [8]byte{1, 2, 3, 4, 5, 6, 7, 8},
	ASN:    [10]byte{0x31, 0x04, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18},
}

func TestSchemeKey(t *testing.T) {
	for _, tc := range []struct {
		factors []string
		want    []keyref.Factor
	}{
		{nil, nil},
		{[]string{"asn8"}, []keyref.Factor{{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}}},
		{[]string{"issuer8", "asn8"}, []keyref.Factor{{1, 2, 3, 4, 5, 6, 7, 8}, {0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}}},
		{[]string{"fixed:FFEEDDCCBBAA9988", "issuer4x2", "asn8"}, []keyref.Factor{
			{0xFF, 0xEE, 0xDD, 0xCC, 0xBB, 0xAA, 0x99, 0x88}, {1, 2, 3, 4, 1, 2, 3, 4}, {0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}}},
	} {
		p, err := scheme(t, tc.factors...).Key(keyref.LoadMaster, card, 0x41, 1)
		want, werr := keyref.Ref{Realm: "transit", Usage: keyref.LoadMaster, Version: 2}.Path(tc.want...)
		if err != nil || werr != nil || p != want {
			t.Errorf("%v: %+v, %v", tc.factors, p, err)
		}
	}
	s := scheme(t, "asn8")
	for _, c := range [][2]byte{{2, 0}, {1, 2}} {
		if _, err := s.Key(keyref.LoadMaster, card, c[0], c[1]); !errors.Is(err, cryptogram.ErrNoKey) {
			t.Errorf("key version %d, algorithm %d: %v", c[0], c[1], err)
		}
	}
}

func TestTACKey(t *testing.T) {
	for _, tc := range []struct {
		factors []string
		mode    cryptogram.TACMode
		want    keyref.Usage
	}{
		{nil, cryptogram.TACFold, keyref.FoldedTAC}, {nil, cryptogram.TACDirect, keyref.RetailTAC},
		{[]string{"asn8"}, cryptogram.TACFold, keyref.TACMaster}, {[]string{"asn8"}, cryptogram.TACDirect, keyref.TACMaster},
	} {
		p, err := scheme(t, tc.factors...).TACKey(tc.mode, card, 1, 0)
		if err != nil || p.Key.Usage != tc.want {
			t.Errorf("%+v: %v, %v", tc, p.Key, err)
		}
	}
	if _, err := scheme(t, "asn8").TACKey(cryptogram.TACRefuse, card, 1, 0); !errors.Is(err, cryptogram.ErrNoKey) {
		t.Error(err)
	}
}

// TestVersionsAreFollowed: who follows key ceremonies has the last word on versions.
func TestVersionsAreFollowed(t *testing.T) {
	s := scheme(t, "asn8")
	s.Follow = func(u keyref.Usage, keyVer byte) (uint8, bool) { return 7, u == keyref.LoadMaster && keyVer == 9 }
	if p, err := s.Key(keyref.LoadMaster, card, 9, 0); err != nil || p.Key.Version != 7 {
		t.Errorf("a version that came later: %v, %v", p.Key, err)
	}
	if p, err := s.Key(keyref.LoadMaster, card, 1, 0); !errors.Is(err, cryptogram.ErrNoKey) {
		t.Errorf("a version that is over: %v, %v", p.Key, err)
	}
}

// TestSM4Keys: an algorithm id of SM4 leads to keys of SM4 alone, and a realm that
// computes no TAC computes none of SM4 either.
func TestSM4Keys(t *testing.T) {
	s := scheme(t, "asn8")
	if s.Algorithms[4] = cryptogram.SM4; s.Validate() != nil {
		t.Error(s.Validate())
	}
	for usage, want := range map[keyref.Usage]keyref.Usage{keyref.PurchaseMaster: keyref.PurchaseMasterSM4,
		keyref.LoadMaster: keyref.LoadMasterSM4, keyref.TACMaster: keyref.TACMasterSM4} {
		if p, err := s.Key(usage, card, 1, 4); err != nil || p.Key.Usage != want {
			t.Errorf("%s: %v, %v", usage, p.Key, err)
		}
		if p, err := s.Key(usage, card, 1, 0); err != nil || p.Key.Usage != usage {
			t.Errorf("%s of another id: %v, %v", usage, p.Key, err)
		}
	}
	if _, err := s.Key(keyref.Intake, card, 1, 4); !errors.Is(err, cryptogram.ErrNoKey) {
		t.Errorf("a usage that SM4 has none for: %v", err)
	}
	key := keyref.Path{Key: keyref.Ref{Realm: "transit", Usage: keyref.TACMasterSM4, Version: 1}}
	if tac, err := cryptogram.TAC(t.Context(), whole{}, key, cryptogram.TACFold, cryptogram.Load{}); err != nil || tac != [4]byte{4} {
		t.Errorf("an SM4 key is used whole: %X, %v", tac, err)
	}
	if tac, err := cryptogram.TAC(t.Context(), whole{}, key, cryptogram.TACRefuse, cryptogram.Load{}); !errors.Is(err, cryptogram.ErrNoKey) {
		t.Errorf("no TAC: %X, %v", tac, err)
	}
}

// whole answers for keys that are not folded, and for no others.
type whole struct{ cryptogram.Keys }

func (whole) RetailMAC(context.Context, keyref.Path, []byte) ([4]byte, error) {
	return [4]byte{4}, nil
}

func (whole) FoldedMAC(context.Context, keyref.Path, []byte) ([4]byte, error) {
	return [4]byte{}, errors.New("folded")
}

// TestFactorRules: what is no rule is refused, and not taken for eight bytes.
func TestFactorRules(t *testing.T) {
	for _, bad := range []string{"", "issuer", "issuer8 ", "0123456789ABCDEF", "fixed:", "fixed:0123456789ABCD", "fixed:0123456789ABCDEF01", "fixed:0123456789ABCDEX",
		"fixed:0123456789ABCDEF0", "fixed:0123456789ABCDEFX"} {
		if _, err := cryptogram.ParseFactorRule(bad); !errors.Is(err, cryptogram.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSchemeValidate(t *testing.T) {
	s := scheme(t)
	if s.TAC, s.OverdraftTAC = cryptogram.TACRefuse, cryptogram.TACRefuse; s.Validate() != nil {
		t.Errorf("a realm may decline TACs: %v", s.Validate())
	}
	for name, f := range map[string]func(s *cryptogram.Scheme){
		"name":          func(s *cryptogram.Scheme) { s.Realm = "Transit" },
		"no name":       func(s *cryptogram.Scheme) { s.Realm = "" },
		"four factors":  func(s *cryptogram.Scheme) { s.Factors = append(s.Factors, s.Factors...) },
		"empty factor":  func(s *cryptogram.Scheme) { s.Factors[0] = cryptogram.FactorRule{} },
		"no algorithm":  func(s *cryptogram.Scheme) { s.Algorithms = nil },
		"algorithm":     func(s *cryptogram.Scheme) { s.Algorithms[4] = "aes" },
		"no version":    func(s *cryptogram.Scheme) { s.KeyVersions = nil },
		"version 0":     func(s *cryptogram.Scheme) { s.KeyVersions[9] = 0 },
		"TAC":           func(s *cryptogram.Scheme) { s.TAC = "xor" },
		"no TAC":        func(s *cryptogram.Scheme) { s.TAC = "" },
		"overdraft TAC": func(s *cryptogram.Scheme) { s.OverdraftTAC = "" },
	} {
		s := scheme(t, "issuer8", "asn8")
		f(&s)
		if err := s.Validate(); !errors.Is(err, cryptogram.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthCode(t *testing.T) {
	s := scheme(t, "asn8")
	p := cryptogram.Purchase{Type: cryptogram.PurchaseCAPP, At: when}
	if err := s.Purchase(p); err != nil {
		t.Errorf("no code, where there is none: %v", err)
	}
	p.AuthCode = new([9]byte)
	if err := s.Purchase(p); !errors.Is(err, cryptogram.ErrTransaction) {
		t.Error(err)
	}
	s.AuthCode = true
	if err := s.Purchase(p); err != nil {
		t.Error(err)
	}
	if p.AuthCode = nil; s.Purchase(p) != nil {
		t.Error("a code is not demanded")
	}
}

func FuzzFactorRule(f *testing.F) {
	for _, s := range []string{"issuer8", "issuer4x2", "asn8", "fixed:00112233AABBCCDD", "fixed:", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := cryptogram.ParseFactorRule(text)
		if err != nil {
			return
		}
		printed, _ := r.MarshalText()
		var again cryptogram.FactorRule
		if err := again.UnmarshalText(printed); err != nil || again != r {
			t.Errorf("%q printed as %q: %v", text, printed, err)
		}
	})
}

// TestFactorsAreGiven: a card whose serial number was left away would get the
// key of a card that does not exist.
func TestFactorsAreGiven(t *testing.T) {
	whole := cryptogram.Card{Issuer: [8]byte{1}, ASN: [10]byte{9: 1}}
	for factors, wants := range map[string][2]bool{"issuer8 asn8": {true, true}, "issuer4x2": {true, false}, "asn8": {false, true},
		"fixed:0000000000000000": {false, false}, "": {false, false}} {
		s := cryptogram.Scheme{Realm: "r", Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1}}
		for _, f := range strings.Fields(factors) {
			r, err := cryptogram.ParseFactorRule(f)
			if err != nil {
				t.Fatal(err)
			}
			s.Factors = append(s.Factors, r)
		}
		for i, c := range []cryptogram.Card{{ASN: whole.ASN}, {Issuer: whole.Issuer}, whole} {
			_, err := s.Key(keyref.PurchaseMaster, c, 1, 0)
			if want := i < 2 && wants[i]; errors.Is(err, cryptogram.ErrMalformed) != want || !want && err != nil {
				t.Errorf("%q, card %d: %v", factors, i, err)
			}
		}
	}
}
