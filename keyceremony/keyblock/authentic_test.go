package keyblock_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

// authentic makes a block of version D whose MAC holds, of any clear field under any
// header: what somebody makes who has the protection key and no care. head lacks the
// version and the length.
func authentic(t *testing.T, head string, plain []byte) string {
	t.Helper()
	encipher, authenticate, err := keyblock.Derive(keyblock.VersionD, kbpkD)
	if err != nil {
		t.Fatal(err)
	}
	a, err := aes.NewCipher(authenticate)
	if err != nil {
		t.Fatal(err)
	}
	c, err := aes.NewCipher(encipher)
	if err != nil {
		t.Fatal(err)
	}
	head = fmt.Sprintf("D%04d%s", 5+len(head)+2*(len(plain)+16), head)
	sum := mac.CMAC(a, append([]byte(head), plain...))
	field := make([]byte, len(plain))
	cipher.NewCBCEncrypter(c, sum).CryptBlocks(field, plain)
	return head + upper(field) + upper(sum)
}

// TestAuthenticNonsense: a MAC that holds is not all: the key has the length that the
// field says and its algorithm allows, the header makes sense, and the check value is
// the key's.
func TestAuthenticNonsense(t *testing.T) {
	const master = "E0TX00N0000"
	sum, err := keyblock.Check(keyblock.TDES, key16)
	if err != nil {
		t.Fatal(err)
	}
	kc := func(text string) string { // a header with this check value, filled to its blocks
		h := fmt.Sprintf("E0TX00N0200KC%02X%s", 4+len(text), text)
		fill := 16 + (16-(5+len(h))%16)%16
		return h + fmt.Sprintf("PB%02X%s", fill, strings.Repeat("0", fill-4))
	}
	right := fmt.Sprintf("%02X", byte(sum.Method)) + upper(sum.Bytes())
	field := func(bits int, size int) []byte {
		return append([]byte{byte(bits >> 8), byte(bits)}, append(bytes.Clone(key16), make([]byte, size-18)...)...)
	}
	for name, tc := range map[string]struct {
		head  string
		plain []byte
		ok    bool
	}{
		"a master key": {master, field(128, 32), true}, "of 24 bytes": {master, field(192, 32), true},
		"of 15 bytes": {master, field(120, 32), false}, "of 17 bytes": {master, field(136, 32), false}, "of 32 bytes": {master, field(256, 48), false},
		"of none": {master, field(0, 32), false}, "of 16 bytes and a bit": {master, field(129, 32), false}, "and seven bits": {master, field(135, 32), false},
		"to the end of its field": {"D0AD00N0000", field(192+48, 32), false}, "an AES key": {"D0AD00N0000", field(256, 48), true},
		"an HMAC key of all there is": {"M7HC00N0200HM0621PB0A000000", field(240, 32), true}, "of a byte more": {"M7HC00N0200HM0621PB0A000000", field(248, 32), false},
		"of all that can be said": {"M7HC00N0200HM0621PB0A000000", field(0xFFF8, 32), false}, "an HMAC key of nothing": {"M7HC00N0200HM0621PB0A000000", field(0, 32), false},
		"a long name of a hash":            {"M7HC00N0200HM08" + "2100" + "PB08" + "0000", field(240, 32), false},
		"a mode that is none of its usage": {"E0TC00N0000", field(128, 32), false}, "an unknown usage": {"Z9TX00N0000", field(128, 32), false},
		"its check value": {kc(right), field(128, 32), true}, "more of it": {kc(right + "00"), field(128, 32), false},
		"another check value": {kc(right[:7] + flip(right[7])), field(128, 32), false}, "another method": {kc("01" + right[2:]), field(128, 32), false},
		"two bytes of it": {kc(right[:6]), field(128, 32), false}, "the method alone": {kc(right[:2]), field(128, 32), false},
		"none of it": {kc(""), field(128, 32), false}, "half a byte": {kc(right[:7]), field(128, 32), false}, "no hex": {kc(right[:6] + "ZZ"), field(128, 32), false},
	} {
		text := authentic(t, tc.head, tc.plain)
		if _, err := keyblock.Parse(text); err != nil {
			t.Errorf("%s is no block: %v", name, err)
		}
		o, err := keyblock.Unwrap(kbpkD, text)
		if tc.ok != (err == nil) || err != nil && (!errors.Is(err, keyblock.ErrRefused) || o.Key != nil || o.Padding != nil) {
			t.Errorf("%s: %d bytes, %v", name, len(o.Key), err)
		}
		if err == nil && (len(o.Key) != (int(tc.plain[0])<<8|int(tc.plain[1]))/8 || !bytes.Equal(append(o.Key, o.Padding...), tc.plain[2:])) {
			t.Errorf("%s: key and padding are cut elsewhere", name)
		}
	}
}

// flip is another hex digit.
func flip(digit byte) string {
	if digit == '0' {
		return "1"
	}
	return "0"
}

// TestLegacyCheckOfAES: an AES key may say its check value of old, and each by its own
// method only.
func TestLegacyCheckOfAES(t *testing.T) {
	now, err := keyblock.Check(keyblock.AES, key16)
	if err != nil {
		t.Fatal(err)
	}
	old, err := keyblock.LegacyCheck(key16)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		method keyblock.Method
		sum    []byte
		ok     bool
	}{"new": {now.Method, now.Bytes(), true}, "old": {keyblock.ECB, old.Bytes(), true}, "new as old": {keyblock.ECB, now.Bytes(), false}, "old as new": {now.Method, old.Bytes(), false}} {
		h := imkAC('D')
		h.Algorithm = keyblock.AES
		h.Optional = []keyblock.Optional{{ID: "KC", Data: fmt.Sprintf("%02X", byte(tc.method)) + strings.ToUpper(hex.EncodeToString(tc.sum))}}
		if _, err := keyblock.Wrap(rand.Reader, kbpkD, h, key16); (err == nil) != tc.ok || err != nil && !errors.Is(err, keyblock.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEachFieldEnds: each field of a header holds at its first and last value, and not at
// the characters next to them.
func TestEachFieldEnds(t *testing.T) {
	body := strings.Repeat("00", 32+8)
	for at, tc := range map[int]struct{ yes, no string }{ // a place in the header, and what may stand there
		5: {"AZ", "@[09az"}, 6: {"AZ09", "@[/:az"}, 9: {"AZ09", "@[/:az"}, 10: {"AZ09", "@[/:az"}, 14: {"012", "/3A"}, 15: {"0", "/1"},
	} {
		for _, c := range tc.yes + tc.no {
			head := []byte("B0096E0TX00N0000")
			head[at] = byte(c)
			_, err := keyblock.Parse(string(head) + body)
			if ok := strings.ContainsRune(tc.yes, c); ok != (err == nil) || !ok && !errors.Is(err, keyblock.ErrMalformed) {
				t.Errorf("%c at %d: %v", c, at, err)
			}
		}
	}
	for version, want := range map[string]bool{"c0": false, "c1": true, "c9": true, "c:": false, "cA": false, "C1": true} {
		if _, err := keyblock.Parse("B0096E0TX" + version + "N0000" + body); want != (err == nil) {
			t.Errorf("key version %s: %v", version, err)
		}
	}
	for text, want := range map[string]bool{"LB08 ~AZ": true, "0908abcd": true, "Z008abcd": true, "@B08abcd": false, "L[08abcd": false, "L/08abcd": false, ":B08abcd": false,
		"lb08abcd": false, "LB08abc\x7f": false, "LB08abc\x1f": false, "LB0:abcd": false, "LB0@abcd": false, "LB0Gabcd": false, "LB08abcd"[:7] + "\xe9": false} {
		if _, err := keyblock.Parse("B0104E0TX00N0100" + text + body); want != (err == nil) {
			t.Errorf("optional block %q: %v", text, err)
		}
	}
}

// TestOptionalLengths: lengths have one spelling, and none leads beyond the text.
func TestOptionalLengths(t *testing.T) {
	body := strings.Repeat("00", 32+8)
	for name, tc := range map[string]struct {
		count int
		text  string // optional blocks and what follows
		ok    bool
	}{
		"two": {2, "LB0CABCDEFGHPB04" + body, true}, "a lower-case digit": {2, "LB0cABCDEFGHPB04" + body, false}, "padding first": {2, "PB08xxxxLB08abcd" + body, false},
		"the longest short form": {2, "LBFF" + strings.Repeat("x", 251) + "PB09xxxxx" + body, true}, "long forms that nobody needs": {2, "LB000200FF" + strings.Repeat("x", 245) + "PB09xxxxx" + body, false},
		"one that the short form could say": {1, "LB00020100" + strings.Repeat("x", 246) + body, false}, "the last of them": {2, "LB00020105" + strings.Repeat("x", 251) + "PB0Bxxxxxxx" + body, false},
		"the shortest long form": {2, "LB00020106" + strings.Repeat("x", 252) + "PB0Axxxxxx" + body, true}, "of five digits": {2, "LB00050106" + strings.Repeat("x", 252) + "PB0Axxxxxx" + body, false},
		"no second one": {2, "LB04", false}, "the ID of a second one": {2, "LB04PB", false}, "half its length": {2, "LB04PB0", false},
		"the head of a long form": {1, "LB0002010", false}, "a long form and no data": {1, "LB00020100", false}, "no more than a header": {0, "", false},
	} {
		text := fmt.Sprintf("B%04dE0TX00N%02d00%s", 16+len(tc.text), tc.count, tc.text)
		if b, err := keyblock.Parse(text); tc.ok != (err == nil) || err == nil && b.String() != text || err != nil && !errors.Is(err, keyblock.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
