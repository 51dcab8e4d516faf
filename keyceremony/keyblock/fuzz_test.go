package keyblock_test

import (
	"bytes"
	"testing"

	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

// FuzzParse: what is read is printed the same, and read the same again; and
// under a key that made no such block, nothing opens.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f, "tr31_", 151) {
		if v.In.Block != "" {
			f.Add(v.In.Block)
		}
	}
	stranger := []byte("a protection key that is strange")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := keyblock.Parse(text)
		if err != nil {
			return
		}
		if b.String() != text {
			t.Fatalf("%q is printed as %q", text, b.String())
		}
		again, err := keyblock.Parse(b.String())
		if err != nil || !bytes.Equal(again.Field, b.Field) || !bytes.Equal(again.MAC, b.MAC) || again.String() != text {
			t.Fatalf("read again: %v", err)
		}
		kbpk := stranger[:16]
		if b.Header.Version == keyblock.VersionD {
			kbpk = stranger
		}
		if len(b.MAC) < 8 { // four bytes can be hit by chance
			return
		}
		if o, err := keyblock.Unwrap(kbpk, text); err == nil || o.Key != nil {
			t.Fatal("a block opened under a strange key")
		}
	})
}
