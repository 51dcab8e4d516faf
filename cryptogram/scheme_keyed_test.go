package cryptogram_test

import (
	"testing"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestKeyed: two cards have the same keys exactly when what they are keyed by is
// the same.
func TestKeyed(t *testing.T) {
	base := cryptogram.Card{Issuer: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, ASN: [10]byte{11, 12, 13, 14, 15, 16, 17, 18, 19, 20}}
	for _, texts := range [][]string{nil, {"asn8"}, {"issuer8", "asn8"}, {"issuer4x2", "asn8"}, {"issuer4x2", "issuer8"}, {"fixed:0123456789ABCDEF"}} {
		s := cryptogram.Scheme{Realm: "r", Algorithms: map[byte]string{0: cryptogram.TDES}, KeyVersions: map[byte]uint8{1: 1}}
		for _, text := range texts {
			r, err := cryptogram.ParseFactorRule(text)
			if err != nil {
				t.Fatal(err)
			}
			s.Factors = append(s.Factors, r)
		}
		key := func(c cryptogram.Card) keyref.Path {
			p, err := s.Key(keyref.PurchaseMaster, c, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		for i := range 18 {
			other := base
			if i < 8 {
				other.Issuer[i]++
			} else {
				other.ASN[i-8]++
			}
			if (key(other) == key(base)) != (s.Keyed(other) == s.Keyed(base)) {
				t.Errorf("%v: byte %d: the same key: %v, keyed the same: %v", texts, i, key(other) == key(base), s.Keyed(other) == s.Keyed(base))
			}
		}
	}
}
