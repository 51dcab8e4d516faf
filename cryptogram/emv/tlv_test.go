package emv_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tapvault/tapvault/cryptogram/emv"
)

func TestTLV(t *testing.T) {
	text := "9F02060000000002009C01009F36020007820200009F10810706010A03A0B000"
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	d, err := emv.ParseTLV(b)
	if err != nil || len(d) != 5 || !bytes.Equal(d["9F36"], []byte{0, 7}) || len(d["9F10"]) != 7 || len(d["9C"]) != 1 {
		t.Errorf("%v, %v", d, err)
	}
	for name, bad := range map[string]string{"empty": "", "tag alone": "9F36", "short": "9F360300", "twice": "9C01009C0100", "constructed": "7003820200",
		"indefinite": "9C8000", "long tag": "9F818181010100", "length of two bytes": "9C820001FF", "zeros": "0000"} {
		b, err := hex.DecodeString(bad)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := emv.ParseTLV(b); !errors.Is(err, emv.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

// FuzzParseTLV: what was read is all that was there.
func FuzzParseTLV(f *testing.F) {
	f.Add([]byte{0x9F, 0x36, 2, 0, 7, 0x9C, 1, 0})
	f.Add([]byte{0x9F, 0x10, 0x81, 2, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := emv.ParseTLV(b)
		if err != nil {
			return
		}
		n := 0
		for tag, v := range d {
			raw, err := hex.DecodeString(tag)
			if err != nil || len(raw) < 1 || len(raw) > 3 || !bytes.Contains(b, slices.Concat(raw)) {
				t.Fatal(fmt.Sprint("tag ", tag))
			}
			n += len(raw) + 1 + len(v)
		}
		if n > len(b) || n+len(d) < len(b) {
			t.Errorf("%d of %d bytes were read", n, len(b))
		}
	})
}
