package shamir

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"
)

// TestVectors: computed by hand. f(x) = 42 + 0a·x over GF(256): f(1) = 48,
// f(2) = 56, f(3) = 5c; and FIPS 197 section 4.2: 57·83 = c1, 57·13 = fe.
func TestVectors(t *testing.T) {
	if mul(0x57, 0x83) != 0xc1 || mul(0x57, 0x13) != 0xfe || mul(0x53, 0xca) != 1 || inverse(0x53) != 0xca {
		t.Error("the field is not that of AES")
	}
	shares, err := Split(bytes.NewReader([]byte{0x0a}), []byte{0x42}, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []byte{0x48, 0x56, 0x5c} {
		if shares[i].Number != byte(i+1) || shares[i].Value[0] != want {
			t.Errorf("share %d is %x", shares[i].Number, shares[i].Value)
		}
	}
}

func TestAnyOfThem(t *testing.T) {
	secret, _ := hex.DecodeString("00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF")
	shares, err := Split(rand.Reader, secret, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	for a := range 5 {
		for b := range a {
			for c := range b {
				if got, err := Combine(shares[c], shares[a], shares[b]); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("shares %d, %d, %d: %v", a, b, c, err)
				}
			}
			if got, err := Combine(shares[a], shares[b]); err != nil || bytes.Equal(got, secret) {
				t.Errorf("two shares are enough (%v)", err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	s := Share{1, []byte{1}}
	for name, shares := range map[string][]Share{
		"one":         {s},
		"twice":       {s, s},
		"no number":   {s, {0, []byte{1}}},
		"two lengths": {s, {2, []byte{1, 2}}},
		"empty":       {{1, nil}, {2, nil}},
	} {
		if _, err := Combine(shares...); !errors.Is(err, ErrShares) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, mn := range [][2]int{{1, 3}, {4, 3}, {2, 256}} {
		if _, err := Split(rand.Reader, []byte{1}, mn[0], mn[1]); !errors.Is(err, ErrShares) {
			t.Errorf("%v: %v", mn, err)
		}
	}
	if _, err := Split(rand.Reader, nil, 2, 3); !errors.Is(err, ErrShares) {
		t.Errorf("nothing: %v", err)
	}
	for _, mn := range [][2]int{{2, 2}, {255, 255}} {
		shares, err := Split(rand.Reader, []byte{1}, mn[0], mn[1])
		if err != nil {
			t.Fatalf("%v: %v", mn, err)
		}
		if got, err := Combine(shares...); err != nil || !bytes.Equal(got, []byte{1}) {
			t.Errorf("all of %v: %x, %v", mn, got, err)
		}
	}
	if _, err := Split(bytes.NewReader(nil), []byte{1}, 2, 3); err == nil {
		t.Error("no randomness was enough")
	}
}
