package emv_test

import (
	"encoding/json"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
)

// FuzzProfile: a profile that is read is valid, and prints what reads as the
// same again.
func FuzzProfile(f *testing.F) {
	for _, p := range emv.Profiles {
		b, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := emv.ParseProfile(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(p)
		if err != nil || p.Validate() != nil {
			t.Fatalf("%v, %v", err, p.Validate())
		}
		again, err := emv.ParseProfile(text)
		if same, _ := json.Marshal(again); err != nil || string(same) != string(text) {
			t.Fatalf("%s, %v", same, err)
		}
	})
}

// FuzzToken: what reads as a token cryptogram prints as it was.
func FuzzToken(f *testing.F) {
	f.Add(emv.TokenCryptogram{}.String())
	f.Add(emv.TokenCryptogram{KeyIndex: 1, Flags: 2, ATC: [2]byte{0, 9}, AC: [8]byte{1}}.String())
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := emv.ParseToken(text); err == nil && c.String() != text {
			t.Fatalf("%q prints as %q", text, c.String())
		}
		if i, err := emv.ParseLUKIndex(text); err == nil && i.String() != text {
			t.Fatalf("%q prints as %q", text, i.String())
		}
	})
}

// FuzzIAD: whatever the bytes, parts lie inside them.
func FuzzIAD(f *testing.F) {
	f.Add("visa-1", []byte{6, 1, 0x12, 3, 4, 5, 6})
	f.Add("mchip", make([]byte, 26))
	f.Add("visa-2", append([]byte{0x1F}, make([]byte, 31)...))
	f.Fuzz(func(t *testing.T, layout string, v []byte) {
		i, err := emv.SplitIAD(emv.IADLayout(layout), v)
		if err == nil && (len(i.CVR) < 4 || len(i.CVR)+len(i.Counters) > len(v)) {
			t.Fatalf("%d and %d of %d bytes", len(i.CVR), len(i.Counters), len(v))
		}
	})
}
