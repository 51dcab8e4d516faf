package mac_test

import (
	"crypto/aes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

func unhex(s string) []byte { b, _ := hex.DecodeString(s); return b }

// TestCMAC has the examples of SP 800-38B and RFC 4493.
func TestCMAC(t *testing.T) {
	const text = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411"
	for _, tc := range []struct {
		key  string
		n    int
		want string
	}{
		{"2b7e151628aed2a6abf7158809cf4f3c", 0, "bb1d6929e95937287fa37d129b756746"},
		{"2b7e151628aed2a6abf7158809cf4f3c", 16, "070a16b46b4d4144f79bdd9dd04a287c"},
		{"2b7e151628aed2a6abf7158809cf4f3c", 40, "dfa66747de9ae63030ca32611497c827"},
		{"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 0, "028962f61b7bf89efc6b551f4667d983"},
		{"0123456789abcdef23456789abcdef01456789abcdef0123", 0, "7db0d37df936c550"},
		{"0123456789abcdef23456789abcdef01456789abcdef0123", 16, "30239cf1f52e6609"},
	} {
		key := unhex(tc.key)
		b, err := aes.NewCipher(key)
		if len(tc.want) == 16 {
			b, err = tdes.New(key)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(mac.CMAC(b, unhex(text)[:tc.n])); got != tc.want {
			t.Errorf("%d bytes: %s, want %s", tc.n, got, tc.want)
		}
	}
}

// TestRetail has the examples of ISO/IEC 9797-1:2011, annex B.4.
func TestRetail(t *testing.T) {
	left, _ := tdes.New(unhex("0123456789ABCDEF"))
	right, _ := tdes.New(unhex("FEDCBA9876543210"))
	for text, want := range map[string]string{
		"Now is the time for all ": "a1c72e74",
		"Now is the time for it":   "2e2b1428",
	} {
		if got := hex.EncodeToString(mac.Retail(left, right, mac.Pad1([]byte(text), 8))[:4]); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestPadding(t *testing.T) {
	for _, tc := range []struct{ msg, one, two string }{
		{"", "0000000000000000", "8000000000000000"},
		{"01", "0100000000000000", "0180000000000000"},
		{"0102030405060708", "0102030405060708", "01020304050607088000000000000000"},
	} {
		one, two := hex.EncodeToString(mac.Pad1(unhex(tc.msg), 8)), hex.EncodeToString(mac.Pad2(unhex(tc.msg), 8))
		if one != tc.one || two != tc.two {
			t.Errorf("%q: %s and %s", tc.msg, strings.ToUpper(one), strings.ToUpper(two))
		}
	}
}
