//go:build cgo

package hsm_test

import (
	"errors"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestMark: a key of any kind bears the mark of its birth, on all its objects, and
// no other; one that was born without bears none.
func TestMark(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	for _, u := range []keyref.Usage{keyref.PANSeal, keyref.PANIndex, keyref.JWTSign, keyref.PurchaseMaster, keyref.CVK} {
		marked, plain := keyref.Ref{Usage: u, Version: 1}, keyref.Ref{Usage: u, Version: 2}
		if spec, _ := u.Spec(); spec.Realm {
			marked.Realm, plain.Realm = "transit", "transit"
		}
		if _, err := tok.Bears(t.Context(), marked, "A1"); !errors.Is(err, hsm.ErrKeyMissing) {
			t.Errorf("%v is not there: %v", marked, err)
		}
		if err := errors.Join(tok.GenerateMarked(t.Context(), marked, "A1"), tok.Generate(t.Context(), plain)); err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			ref  keyref.Ref
			mark string
			want bool
		}{{marked, "A1", true}, {marked, "A2", false}, {marked, "A", false}, {plain, "A1", false}} {
			if got, err := tok.Bears(t.Context(), x.ref, x.mark); err != nil || got != x.want {
				t.Errorf("%v bears %s: %t, %v", x.ref, x.mark, got, err)
			}
		}
		if err := tok.Require(t.Context(), marked, plain); err != nil {
			t.Error(err)
		}
	}
	for _, r := range []keyref.Ref{{Usage: keyref.PARKey, Version: 1}, {Realm: "transit", Usage: keyref.LoadMaster, Version: 1}} {
		value := []byte("0123456789ABCDEFfedcba9876543210")
		if spec, _ := r.Usage.Spec(); spec.Type == keyref.DES3 {
			value = value[:16]
		}
		if err := tok.ImportMarked(t.Context(), r, value, "B1"); err != nil {
			t.Fatal(err)
		}
		if got, err := tok.Bears(t.Context(), r, "B1"); err != nil || !got {
			t.Errorf("%v: %t, %v", r, got, err)
		}
	}
	if err := tok.Plant(keyref.Ref{Usage: keyref.PANSeal, Version: 1}.SecondLabel(), keyref.AES256, keyref.Decrypt, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if got, err := tok.Bears(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 1}, "A1"); err != nil || got {
		t.Errorf("with another's object beside it: %t, %v", got, err)
	}
}

// TestOrphans: what births left without a label is destroyed if it bears their mark or
// nothing. What bears another's is left, and so is all when nothing was born.
func TestOrphans(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{}})
	ours, other := keyref.Ref{Usage: keyref.PANSeal, Version: 1}, keyref.Ref{Usage: keyref.PANIndex, Version: 1}
	for _, id := range []string{"", ours.Label() + "#A1", ours.SecondLabel() + "#A1", ours.Label() + "#B1", other.Label() + "#A1"} {
		if err := tok.Plant("", keyref.DES3, 0, make([]byte, 24), pkcs11.NewAttribute(pkcs11.CKA_ID, id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		births     []hsm.Birth
		gone, left int
	}{{nil, 0, 5}, {[]hsm.Birth{{Ref: ours, Mark: "A1"}}, 3, 2}, {[]hsm.Birth{{Ref: ours, Mark: "A1"}}, 0, 2}, {[]hsm.Birth{{Ref: other, Mark: "A1"}, {Ref: ours, Mark: "B1"}}, 2, 0}} {
		gone, left, err := tok.Orphans(t.Context(), x.births)
		if err != nil || len(gone) != x.gone || len(left) != x.left {
			t.Errorf("%v: %q are gone, %q are left, %v", x.births, gone, left, err)
		}
	}
}
