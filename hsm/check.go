//go:build cgo

package hsm

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// check compares an object with what its usage demands, and says everything
// that is wrong with it.
func (t *Token) check(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, label string, typ keyref.Type, role keyref.Role) error {
	k := t.kind(typ)
	wrong, err := t.checkType(s, h, k, typ)
	if err != nil {
		return err
	}
	if len(wrong) == 0 { // the rest is readable only for the right type
		more, err := t.checkTraits(s, h, k, role)
		if err != nil {
			return err
		}
		wrong = more
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %q %s: destroy it and make it anew", ErrKeyUnfit, label, strings.Join(wrong, ", "))
	}
	return nil
}

func (t *Token) checkType(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, k kindOf, typ keyref.Type) (wrong []string, err error) {
	class, err := t.number(s, h, pkcs11.CKA_CLASS)
	if err != nil {
		return nil, err
	}
	kind := uint(pkcs11.CK_UNAVAILABLE_INFORMATION)
	if class == k.class {
		if kind, err = t.number(s, h, pkcs11.CKA_KEY_TYPE); err != nil {
			return nil, err
		}
	}
	if class != k.class || kind != k.key {
		return []string{"is not " + k.name}, nil
	}
	if k.len != 0 {
		n, err := t.number(s, h, pkcs11.CKA_VALUE_LEN)
		if err != nil {
			return nil, err
		}
		if n != k.len {
			wrong = append(wrong, fmt.Sprintf("has %d bytes instead of %d", n, k.len))
		}
	}
	if typ == keyref.ECP256 {
		curve, err := t.get(s, h, pkcs11.CKA_EC_PARAMS)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(curve, p256) {
			wrong = append(wrong, "is not on the curve P-256")
		}
	}
	return wrong, nil
}

func (t *Token) checkTraits(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, k kindOf, role keyref.Role) (wrong []string, err error) {
	for _, a := range []struct {
		typ  uint
		want bool
		says string
	}{
		{pkcs11.CKA_SENSITIVE, true, "is not sensitive"},
		{pkcs11.CKA_EXTRACTABLE, false, "is extractable"},
		{pkcs11.CKA_PRIVATE, true, "is readable without login"},
	} {
		v, err := t.flag(s, h, a.typ)
		if err != nil {
			return nil, err
		}
		if v != a.want {
			wrong = append(wrong, a.says)
		}
	}
	for _, u := range k.usages {
		may, err := t.flag(s, h, u.typ)
		if err != nil {
			return nil, err
		}
		switch want := u.role == role; {
		case may && !want:
			wrong = append(wrong, "may also "+u.name)
		case want && !may:
			wrong = append(wrong, "may not "+u.name)
		}
	}
	return wrong, nil
}

// flag reads an attribute that is a CK_BBOOL. One that the module does not
// know is false: it cannot allow anything.
func (t *Token) flag(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, typ uint) (bool, error) {
	b, err := t.get(s, h, typ)
	if code(err) == pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
		return false, nil
	}
	return len(b) == 1 && b[0] != 0, err
}
