package vault

import (
	"reflect"
	"testing"

	"github.com/tapvault/tapvault/token"
)

// FuzzControls: controls that cannot be read are an error, never no controls.
func FuzzControls(f *testing.F) {
	for _, c := range []token.Controls{{}, {Merchants: []string{"m"}, MaxSum: 7}, {Channels: []token.Channel{token.InApp}, MaxCount: 1}} {
		s, err := packControls(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s)
	}
	f.Add(`{"Merchants":["m"],"Later":1}`)
	f.Add("{")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := unpackControls(s)
		if err != nil {
			if !c.IsZero() {
				t.Fatal("controls and an error")
			}
			return
		}
		packed, err := packControls(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := unpackControls(packed)
		if err != nil || !c.IsZero() && !reflect.DeepEqual(again, c) {
			t.Fatalf("%+v comes back as %+v, %v", c, again, err)
		}
	})
}

func TestSuspenderBits(t *testing.T) {
	for bits := range 1 << len(token.Suspenders) {
		back := 0
		for _, s := range suspenders(bits) {
			back |= bit(s)
		}
		if back != bits {
			t.Errorf("%b comes back as %b", bits, back)
		}
	}
	if bit("SOMEBODY") != 0 {
		t.Error("an unknown suspender has a bit")
	}
}
