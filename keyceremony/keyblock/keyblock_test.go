package keyblock_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

var (
	kbpkB = []byte("\x01\x23\x45\x67\x89\xAB\xCD\xEF\xFE\xDC\xBA\x98\x76\x54\x32\x10")
	kbpkD = bytes.Repeat([]byte("Tap!"), 8)
	key16 = []byte("sixteen letters!")
)

func imkAC(v keyblock.Version) keyblock.Header {
	return keyblock.Header{Version: v, Usage: "E0", Algorithm: keyblock.TDES, Mode: 'X', KeyVersion: "01",
		Export: keyblock.Never, Context: '0'}
}

func wrap(t testing.TB, kbpk []byte, h keyblock.Header, key []byte) string {
	t.Helper()
	text, err := keyblock.Wrap(rand.Reader, kbpk, h, key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestEveryCharacter changes each character of a block, by one and to
// something that cannot be there: nothing opens any more.
func TestEveryCharacter(t *testing.T) {
	for _, tc := range []struct {
		v    keyblock.Version
		kbpk []byte
	}{{'B', kbpkB}, {'D', kbpkD}} {
		h := imkAC(tc.v)
		h.Optional = []keyblock.Optional{{ID: "LB", Data: "transit"}}
		text := wrap(t, tc.kbpk, h, key16)
		if o, err := keyblock.Unwrap(tc.kbpk, text); err != nil || !bytes.Equal(o.Key, key16) {
			t.Fatal(err)
		}
		for i := range len(text) {
			for _, c := range []byte{text[i] ^ 1, text[i] ^ 4, text[i] + 1, 'z', 0, 0xFF} {
				if c == text[i] {
					continue
				}
				bad := text[:i] + string(rune(c)) + text[i+1:]
				if c == 0xFF {
					bad = text[:i] + "\xFF" + text[i+1:]
				}
				o, err := keyblock.Unwrap(tc.kbpk, bad)
				if err != keyblock.ErrRefused || o.Key != nil { //nolint:errorlint // one and the same refusal, nothing wrapped in it
					t.Errorf("version %c, character %d to %q: %v", tc.v, i, c, err)
				}
			}
		}
		for i := range len(text) {
			if _, err := keyblock.Unwrap(tc.kbpk, text[:i]); !errors.Is(err, keyblock.ErrRefused) {
				t.Errorf("cut to %d: %v", i, err)
			}
		}
		if _, err := keyblock.Unwrap(tc.kbpk, text+"00"); !errors.Is(err, keyblock.ErrRefused) {
			t.Errorf("two more characters: %v", err)
		}
	}
}

// TestPadding: blocks of the same algorithm have the same length, whatever the
// key's, and two blocks of one key differ.
func TestPadding(t *testing.T) {
	long := append(bytes.Clone(key16), "eight by"...)
	for _, v := range []keyblock.Version{'B', 'D'} {
		kbpk := map[keyblock.Version][]byte{'B': kbpkB, 'D': kbpkD}[v]
		a, b := wrap(t, kbpk, imkAC(v), key16), wrap(t, kbpk, imkAC(v), key16)
		if a == b || len(a) != len(wrap(t, kbpk, imkAC(v), long)) {
			t.Errorf("version %c: lengths or padding", v)
		}
	}
	if _, err := keyblock.Wrap(strings.NewReader("abc"), kbpkB, imkAC('B'), key16); err == nil {
		t.Error("short randomness was taken")
	}
}

func TestOptionalBlocks(t *testing.T) {
	for n := range 40 { // every remainder of a header's length
		h := imkAC('D')
		h.Optional = []keyblock.Optional{{ID: "LB", Data: strings.Repeat("x", n)}}
		b, err := keyblock.Parse(wrap(t, kbpkD, h, key16))
		if data, ok := b.Header.Lookup("LB"); err != nil || !ok || len(data) != n {
			t.Errorf("%d characters: %q, %v", n, data, err)
		}
	}
	for _, n := range []int{251, 252, 255, 256, 4000} { // 252 needs the long form of a length
		h := imkAC('B')
		h.Optional = []keyblock.Optional{{ID: "CT", Data: strings.Repeat("x", n)}}
		text := wrap(t, kbpkB, h, key16)
		o, err := keyblock.Unwrap(kbpkB, text)
		if data, _ := o.Header.Lookup("CT"); err != nil || len(data) != n || strings.Contains(text[:24], "CT0002") != (n > 251) {
			t.Errorf("%d characters: %v", n, err)
		}
	}
}

func TestWrapRefuses(t *testing.T) {
	with := func(change func(h *keyblock.Header)) keyblock.Header { h := imkAC('D'); change(&h); return h }
	opt := func(os ...keyblock.Optional) keyblock.Header {
		return with(func(h *keyblock.Header) { h.Optional = os })
	}
	for name, tc := range map[string]struct {
		h    keyblock.Header
		key  []byte
		want error
	}{
		"version A":               {imkAC('A'), key16, keyblock.ErrForbidden},
		"version E":               {imkAC('E'), key16, keyblock.ErrForbidden},
		"a MAC mode for a master": {with(func(h *keyblock.Header) { h.Mode = 'C' }), key16, keyblock.ErrForbidden},
		"an RSA master":           {with(func(h *keyblock.Header) { h.Algorithm = keyblock.RSA }), key16, keyblock.ErrForbidden},
		"a proprietary usage":     {with(func(h *keyblock.Header) { h.Usage = "99" }), key16, keyblock.ErrMalformed},
		"an unknown usage":        {with(func(h *keyblock.Header) { h.Usage = "Z9" }), key16, keyblock.ErrForbidden},
		"a usage of one":          {with(func(h *keyblock.Header) { h.Usage = "E" }), key16, keyblock.ErrMalformed},
		"no mode":                 {with(func(h *keyblock.Header) { h.Mode = 0 }), key16, keyblock.ErrMalformed},
		"no algorithm":            {with(func(h *keyblock.Header) { h.Algorithm = 0 }), key16, keyblock.ErrMalformed},
		"a proprietary mode":      {with(func(h *keyblock.Header) { h.Mode = '1' }), key16, keyblock.ErrMalformed},
		"no exportability":        {with(func(h *keyblock.Header) { h.Export = 0 }), key16, keyblock.ErrMalformed},
		"no context":              {with(func(h *keyblock.Header) { h.Context = 0 }), key16, keyblock.ErrMalformed},
		"a long key version":      {with(func(h *keyblock.Header) { h.KeyVersion = "001" }), key16, keyblock.ErrMalformed},
		"a key version of signs":  {with(func(h *keyblock.Header) { h.KeyVersion = "-1" }), key16, keyblock.ErrMalformed},
		"component zero":          {with(func(h *keyblock.Header) { h.KeyVersion = "c0" }), key16, keyblock.ErrMalformed},
		"a key of 15 bytes":       {imkAC('D'), key16[:15], keyblock.ErrKey},
		"a single DES key":        {imkAC('D'), key16[:8], keyblock.ErrKey},
		"no key":                  {imkAC('D'), nil, keyblock.ErrKey},
		"a block twice":           {opt(keyblock.Optional{ID: "LB", Data: "a"}, keyblock.Optional{ID: "LB", Data: "a"}), key16, keyblock.ErrMalformed},
		"padding not last":        {opt(keyblock.Optional{ID: "PB", Data: "a"}, keyblock.Optional{ID: "LB", Data: "a"}), key16, keyblock.ErrMalformed},
		"padding that is short":   {opt(keyblock.Optional{ID: "PB", Data: "a"}), key16, keyblock.ErrMalformed},
		"a block without ID":      {opt(keyblock.Optional{Data: "a"}), key16, keyblock.ErrMalformed},
		"a line feed":             {opt(keyblock.Optional{ID: "LB", Data: "a\nb"}), key16, keyblock.ErrMalformed},
		"over all bounds":         {opt(keyblock.Optional{ID: "LB", Data: strings.Repeat("x", 9980)}), key16, keyblock.ErrMalformed},
		"a hundred blocks":        {opt(make([]keyblock.Optional, 100)...), key16, keyblock.ErrMalformed},
		"another's check value":   {opt(keyblock.Optional{ID: "KC", Data: "00000000"}), key16, keyblock.ErrKey},
		"a hash for no HMAC key":  {opt(keyblock.Optional{ID: "HM", Data: "21"}), key16, keyblock.ErrForbidden},
		"an HMAC key, no hash": {with(func(h *keyblock.Header) { h.Usage, h.Algorithm, h.Mode = "M7", keyblock.HMAC, 'C' }), key16,
			keyblock.ErrForbidden},
	} {
		if text, err := keyblock.Wrap(rand.Reader, kbpkD, tc.h, tc.key); !errors.Is(err, tc.want) || text != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	aes := imkAC('B')
	aes.Algorithm = keyblock.AES
	if _, err := keyblock.Wrap(rand.Reader, kbpkB, aes, key16); !errors.Is(err, keyblock.ErrForbidden) {
		t.Errorf("an AES key under a Triple DES key: %v", err)
	}
	for _, n := range []int{0, 8, 15, 17, 33} {
		if _, err := keyblock.Wrap(rand.Reader, make([]byte, n), imkAC('D'), key16); !errors.Is(err, keyblock.ErrKey) {
			t.Errorf("a protection key of %d bytes: %v", n, err)
		}
		if _, err := keyblock.Unwrap(make([]byte, n), wrap(t, kbpkD, imkAC('D'), key16)); !errors.Is(err, keyblock.ErrKey) {
			t.Errorf("opening under %d bytes: %v", n, err)
		}
	}
	if _, err := keyblock.Wrap(rand.Reader, make([]byte, 32), imkAC('B'), key16); !errors.Is(err, keyblock.ErrKey) {
		t.Errorf("32 bytes of Triple DES: %v", err)
	}
}

// TestParseRefuses is about text that nobody would print.
func TestParseRefuses(t *testing.T) {
	body := strings.Repeat("00", 32+8)
	for name, text := range map[string]string{
		"empty":                            "",
		"lower case":                       "B0096E0TX00N0000" + strings.Repeat("ab", 40),
		"not hex":                          "B0096E0TX00N0000" + strings.Repeat("GG", 40),
		"a signed length":                  "B+096E0TX00N0000" + body,
		"another length":                   "B0104E0TX00N0000" + body,
		"a signed count":                   "B0096E0TX00N+000" + body,
		"reserved":                         "B0096E0TX00N0001" + body,
		"a block more":                     "B0096E0TX00N0100" + body,
		"99 blocks":                        "B0096E0TX00N9900" + body,
		"no field":                         "B0032E0TX00N0000" + strings.Repeat("00", 8),
		"half a field":                     "B0040E0TX00N0000" + strings.Repeat("00", 12),
		"header off":                       "B0106E0TX00N0100LB0A123456" + body,
		"shorter than its own head":        "B0104E0TX00N0100LB03PB04" + body,
		"longer than all":                  "B0104E0TX00N0100LBFFABCD" + body,
		"lower-case length":                "B0112E0TX00N0100LB0cABCDEFGH" + "0000" + body,
		"an extended length nobody needs":  "B0112E0TX00N0100LB00020010ABCDEF" + body,
		"an extended length of five":       "B0112E0TX00N0100LB00050010ABCDEF" + body,
		"an extended length that is short": "B0112E0TX00N0100LB00020002ABCDEF" + body,
	} {
		if _, err := keyblock.Parse(text); !errors.Is(err, keyblock.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := keyblock.Parse("B0096E0TX00N0000" + body); err != nil {
		t.Errorf("the block that they were made of: %v", err)
	}
}

// TestPolicy walks usages: each has a mode that is taken and one that is not.
func TestPolicy(t *testing.T) {
	for usage, tc := range map[keyblock.Usage]struct {
		algorithm keyblock.Algorithm
		yes, no   string
	}{
		"E0": {'T', "XN", "BCDEGSTVY"}, "E1": {'A', "XN", "BCDEGSTVY"}, "E2": {'T', "XN", "BCDEGSTVY"},
		"C0": {'T', "CGVN", "BDESTXY"}, "M3": {'T', "CGVN", "BDESTXY"}, "M6": {'A', "CGVN", "BDESTXY"},
		"P0": {'A', "BDEN", "CGSTVXY"}, "K1": {'A', "BDEN", "CGSTVXY"}, "B0": {'T', "XN", "BCDEGSTVY"},
		"S0": {'E', "STVN", "BCDEGXY"}, "K3": {'E', "BDEXN", "CGSTVY"},
	} {
		h := keyblock.Header{Version: 'D', Usage: usage, Algorithm: tc.algorithm}
		for _, m := range tc.yes + tc.no {
			h.Mode = keyblock.Mode(m)
			if err := h.Permitted(); (err == nil) != strings.ContainsRune(tc.yes, m) {
				t.Errorf("%s in mode %c: %v", usage, m, err)
			}
		}
	}
}

func TestPurpose(t *testing.T) {
	for want, tc := range map[keyref.Usage]keyblock.Header{
		keyref.ACMaster:              imkAC('B'),
		keyref.ACMasterAES:           {Version: 'D', Usage: "E0", Algorithm: keyblock.AES, Mode: 'X'},
		keyref.ConfidentialityMaster: {Version: 'B', Usage: "E1", Algorithm: keyblock.TDES, Mode: 'N'},
		keyref.IntegrityMaster:       {Version: 'B', Usage: "E2", Algorithm: keyblock.TDES, Mode: 'X'},
		keyref.CVK:                   {Version: 'D', Usage: "C0", Algorithm: keyblock.TDES, Mode: 'C'},
	} {
		u, err := tc.Purpose()
		spec, _ := u.Spec()
		if err != nil || u != want || !spec.EMV || spec.Type == keyref.AES != (tc.Algorithm == keyblock.AES) {
			t.Errorf("%s: %s, %v", tc.Usage, u, err)
		}
	}
	component := imkAC('B')
	component.KeyVersion = "c1"
	for name, h := range map[string]keyblock.Header{
		"a component": component, "a MAC key": {Version: 'B', Usage: "M3", Algorithm: keyblock.TDES, Mode: 'C'},
		"a master that MACs": {Version: 'B', Usage: "E0", Algorithm: keyblock.TDES, Mode: 'C'}, "an AES CVK": {Version: 'D', Usage: "C0", Algorithm: keyblock.AES, Mode: 'C'},
	} {
		if u, err := h.Purpose(); !errors.Is(err, keyblock.ErrForbidden) || u != "" {
			t.Errorf("%s became %s, %v", name, u, err)
		}
	}
}

func TestReexport(t *testing.T) {
	for e, want := range map[keyblock.Export][2]bool{keyblock.Never: {false, false}, keyblock.Exportable: {false, true},
		keyblock.Sensitive: {true, true}, 0: {false, false}} {
		h := keyblock.Header{Export: e}
		if got := [2]bool{h.Reexport(false) == nil, h.Reexport(true) == nil}; got != want {
			t.Errorf("%c: %v", e, got)
		}
	}
}

func TestComponentFlag(t *testing.T) {
	h := imkAC('B')
	h.KeyVersion = "c2"
	o, err := keyblock.Unwrap(kbpkB, wrap(t, kbpkB, h, key16))
	if err != nil || !o.Header.Component() || imkAC('B').Component() {
		t.Errorf("%v, %v", o.Header.Component(), err)
	}
	o.Clear()
	if !bytes.Equal(o.Key, make([]byte, 16)) || !bytes.Equal(o.Padding, make([]byte, len(o.Padding))) {
		t.Error("the key was not wiped")
	}
}

func TestCombineRefuses(t *testing.T) {
	part := func(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }
	component := func(a keyblock.Algorithm, v []byte) keyblock.Component {
		c, err := keyblock.Check(a, v)
		if err != nil {
			return keyblock.Component{Value: v}
		}
		return keyblock.Component{Value: v, Check: c.Bytes()}
	}
	for name, tc := range map[string]struct {
		a     keyblock.Algorithm
		parts [][]byte
	}{
		"none":                 {keyblock.TDES, nil},
		"one":                  {keyblock.TDES, [][]byte{key16}},
		"zero":                 {keyblock.TDES, [][]byte{key16, part(0)}},
		"equal":                {keyblock.AES, [][]byte{key16, append(part(1)[:8], part(2)[:8]...), key16}},
		"lengths":              {keyblock.AES, [][]byte{key16, append(part(1), part(2)[:8]...)}},
		"weak together":        {keyblock.TDES, [][]byte{part(1), part(2)}},
		"one byte over, AES":   {keyblock.AES, [][]byte{part(1), part(2)}},
		"not an algorithm's":   {keyblock.AES, [][]byte{key16[:15], part(1)[:15]}},
		"no check value known": {keyblock.RSA, [][]byte{key16, part(1)}},
	} {
		var parts []keyblock.Component
		for _, p := range tc.parts {
			parts = append(parts, component(tc.a, p))
		}
		if key, _, err := keyblock.Combine(tc.a, parts...); !errors.Is(err, keyblock.ErrKey) || key != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := component(keyblock.AES, key16)
	for _, check := range [][]byte{nil, good.Check[:2], append(bytes.Clone(good.Check), 0)} {
		if _, _, err := keyblock.Combine(keyblock.AES, keyblock.Component{Value: key16, Check: check}, component(keyblock.AES, part(1))); err == nil {
			t.Errorf("a check value of %d bytes was taken", len(check))
		}
	}
}

// TestErrorsAreMute renders every error seen over the vectors' keys and looks
// for a run of hex digits in it.
func TestErrorsAreMute(t *testing.T) {
	for _, v := range vectors(t, "tr31_unwrap_reject", 14) {
		_, err := keyblock.Unwrap(unhex(t, v.In.KBPK), v.In.Block)
		_, err2 := keyblock.Parse(v.In.Block + "FF")
		if text := fmt.Sprint(err, err2); strings.ContainsAny(text, "ABCDEF") {
			t.Errorf("%s: %s", v.ID, text)
		}
	}
}
