package tdes_test

import (
	"bytes"
	"encoding/hex"
	"math/bits"
	"testing"

	"github.com/tapvault/tapvault/internal/tdes"
)

func unhex(s string) []byte { b, _ := hex.DecodeString(s); return b }

// TestKeyLengths enciphers zeros: the published check value of the two-key
// form, and equalities that hold between the lengths.
func TestKeyLengths(t *testing.T) {
	zero := func(key []byte) string {
		b, err := tdes.New(key)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]byte, 8)
		b.Encrypt(out, out)
		return hex.EncodeToString(out)
	}
	two := unhex("0123456789ABCDEFFEDCBA9876543210")
	if got := zero(two); got[:6] != "08d7b4" {
		t.Errorf("check value %s", got[:6])
	}
	if zero(two) != zero(append(bytes.Clone(two), two[:8]...)) {
		t.Error("K1‖K2 is not K1‖K2‖K1")
	}
	if one := two[:8]; zero(one) != zero(append(bytes.Clone(one), one...)) {
		t.Error("K‖K is not K")
	}
	for _, n := range []int{0, 7, 9, 15, 23, 25, 32} {
		if _, err := tdes.New(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
}

func TestOddParity(t *testing.T) {
	key := make([]byte, 256)
	for i := range key {
		key[i] = byte(i)
	}
	tdes.OddParity(key)
	for i, b := range key {
		if bits.OnesCount8(b)%2 != 1 || b&^1 != byte(i)&^1 {
			t.Errorf("%02x became %02x", i, b)
		}
	}
}

func TestWeakness(t *testing.T) {
	for name, tc := range map[string]struct {
		key  string
		weak bool
	}{
		"good":                         {"0123456789ABCDEFFEDCBA9876543210", false},
		"good, three":                  {"0123456789ABCDEFFEDCBA98765432100123456789ABCDEF", false},
		"equal halves":                 {"0123456789ABCDEF0123456789ABCDEF", true},
		"equal but for parity":         {"0123456789ABCDEF0022446688AACCEE", true},
		"the last two of three equal":  {"FEDCBA98765432100123456789ABCDEF0123456789ABCDEF", true},
		"a weak half":                  {"0101010101010101FEDCBA9876543210", true},
		"a weak half, in other parity": {"FEDCBA98765432100000000000000000", true},
		"a semi-weak half":             {"1FE01FE00EF10EF1FEDCBA9876543210", true},
	} {
		key := unhex(tc.key)
		if got := tdes.Weakness(key); (got != "") != tc.weak {
			t.Errorf("%s: %q", name, got)
		}
		if !bytes.Equal(key, unhex(tc.key)) {
			t.Errorf("%s: the key was changed", name)
		}
	}
}
