package hsm_test

import (
	"errors"
	"testing"

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
