//go:build cgo

package hsm_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony"
)

// needs requires a key twice: alone, when the token is asked for its label, and
// before others that do not exist, when all objects are listed. Both ways have to
// say the same of it.
func needs(t *testing.T, tok *hsm.Token, r keyref.Ref) error {
	t.Helper()
	refs := []keyref.Ref{r}
	for v := range uint8(4) {
		refs = append(refs, keyref.Ref{Usage: keyref.PANIndex, Version: 100 + v})
	}
	one, many := tok.Require(t.Context(), r), tok.Require(t.Context(), refs...)
	if one == nil {
		refuses(t, "the others", many, hsm.ErrKeyMissing, refs[1].Label())
		return nil
	}
	if many == nil || one.Error() != many.Error() || !errors.Is(many, hsm.ErrKeyMissing) && !errors.Is(many, hsm.ErrKeyAmbiguous) && !errors.Is(many, hsm.ErrKeyUnfit) {
		t.Errorf("%v alone: %v; with others: %v", r, one, many)
	}
	return many
}

// unread is a module that cannot read the label of an object, when it is asked for
// labels and classes.
type unread struct {
	hsm.Cryptoki
	code uint
}

func (u unread) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	if len(a) == 2 && a[0].Type == pkcs11.CKA_LABEL {
		return nil, pkcs11.Error(u.code)
	}
	return u.Cryptoki.GetAttributeValue(s, o, a)
}

// TestUnreadableObject: one object that cannot be read, which may be somebody else's,
// does not keep a service from its keys, neither at the start nor after a lost login.
func TestUnreadableObject(t *testing.T) {
	keys := keyceremony.ServiceKeys(hsmtest.Realm)
	for _, c := range []uint{pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_OBJECT_HANDLE_INVALID} {
		tok := known(t, nil)
		restore := tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { return unread{in, c} })
		for range 2 {
			if err := tok.Require(t.Context(), keys...); err != nil {
				t.Errorf("code %#x: requiring: %v", c, err)
			}
		}
		for range 3 {
			if err := tok.Logout(); err != nil {
				t.Fatal(err)
			}
			_, err := mac(t.Context(), tok, 1) // may fail once
			if err != nil && fault.KindOf(err) != fault.HSMUnavailable {
				t.Errorf("code %#x: %v", c, err)
			}
			if got, err := mac(t.Context(), tok, 1); err != nil || got != want(1) {
				t.Errorf("code %#x: after a lost login: %X, %v", c, got, err)
			}
		}
		restore()
	}
}

// TestUnlabelledObject: one without a label is none of ours.
func TestUnlabelledObject(t *testing.T) {
	tok := known(t, nil)
	restore := tok.Inject(func(in hsm.Cryptoki) hsm.Cryptoki { return unread{in, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID} })
	refuses(t, "all keys", tok.Require(t.Context(), keyceremony.ServiceKeys(hsmtest.Realm)...), hsm.ErrKeyMissing)
	restore()
}

// TestListing counts searches: one finds every key, a few keys are asked for by
// label, and so are those on a token that is full of others' objects.
func TestListing(t *testing.T) {
	tok := known(t, nil)
	c := inject(t, tok)
	keys := keyceremony.ServiceKeys(hsmtest.Realm)
	second := slices.IndexFunc(keys, func(r keyref.Ref) bool { return r.Usage == keyref.PANSeal })
	for name, v := range map[string]struct {
		refs []keyref.Ref
		want int64
	}{
		"all":                    {keys, 1},
		"one":                    {[]keyref.Ref{ref(keyref.PARKey)}, 1},
		"one of two labels":      {[]keyref.Ref{keys[second]}, 2},
		"few, among many others": {[]keyref.Ref{ref(keyref.PARKey), ref(keyref.PANIndex), ref(keyref.PurchaseMaster), ref(keyref.TACMaster)}, 5},
	} {
		c.inits.Store(0)
		if err := tok.Require(t.Context(), v.refs...); err != nil {
			t.Fatal(err)
		}
		if n := c.inits.Load(); n != v.want {
			t.Errorf("%s: %d searches, want %d", name, n, v.want)
		}
	}
}
