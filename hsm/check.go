//go:build cgo

package hsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// check compares an object with what its usage demands, and says everything
// that is wrong with it.
func (t *Token) check(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, label string, typ keyref.Type, role keyref.Role) error {
	k := t.kind(typ)
	read := t.reader(s, h, k, typ)
	wrong, err := checkType(read, k, typ)
	if err != nil {
		return err
	}
	if len(wrong) == 0 { // the rest is readable only for the right type
		more, err := checkTraits(read, k, role)
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

func checkType(read reader, k kindOf, typ keyref.Type) (wrong []string, err error) {
	class, err := read.number(pkcs11.CKA_CLASS)
	if err != nil {
		return nil, err
	}
	kind := uint(pkcs11.CK_UNAVAILABLE_INFORMATION)
	if class == k.class {
		if kind, err = read.number(pkcs11.CKA_KEY_TYPE); err != nil {
			return nil, err
		}
	}
	if class != k.class || kind != k.key {
		return []string{"is not " + k.name}, nil
	}
	if k.len != 0 {
		n, err := read.number(pkcs11.CKA_VALUE_LEN)
		if err != nil {
			return nil, err
		}
		if n != k.len {
			wrong = append(wrong, fmt.Sprintf("has %d bytes instead of %d", n, k.len))
		}
	}
	if typ == keyref.ECP256 {
		curve, err := read(pkcs11.CKA_EC_PARAMS)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(curve, p256) {
			wrong = append(wrong, "is not on the curve P-256")
		}
	}
	return wrong, nil
}

func checkTraits(read reader, k kindOf, role keyref.Role) (wrong []string, err error) {
	for _, a := range []struct {
		typ  uint
		want bool
		says string
	}{
		{pkcs11.CKA_SENSITIVE, true, "is not sensitive"},
		{pkcs11.CKA_EXTRACTABLE, false, "is extractable"},
		{pkcs11.CKA_PRIVATE, true, "is readable without login"},
	} {
		v, err := read.flag(a.typ)
		if err != nil {
			return nil, err
		}
		if v != a.want {
			wrong = append(wrong, a.says)
		}
	}
	for _, u := range k.usages {
		may, err := read.flag(u.typ)
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

// reader reads attributes of one object.
type reader func(typ uint) ([]byte, error)

// traitTypes are those that every key is compared by.
var traitTypes = []uint{pkcs11.CKA_CLASS, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_PRIVATE}

// reader reads what check asks for at once, if the object has it all, or else one
// by one. NSS softokn says of every stored key that it is sensitive and private when
// asked for that alone, whatever a copy of it will be; asked for more, it looks.
func (t *Token) reader(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, k kindOf, typ keyref.Type) reader {
	all := slices.Clone(traitTypes)
	for _, u := range k.usages {
		all = append(all, u.typ)
	}
	if k.len != 0 {
		all = append(all, pkcs11.CKA_VALUE_LEN)
	}
	if typ == keyref.ECP256 {
		all = append(all, pkcs11.CKA_EC_PARAMS)
	}
	var ask []*pkcs11.Attribute
	for _, typ := range all {
		ask = append(ask, &pkcs11.Attribute{Type: typ})
	}
	got, err := t.mod.ctx.GetAttributeValue(s, h, ask)
	if code(err) == pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
		return func(typ uint) ([]byte, error) {
			two, err := t.mod.ctx.GetAttributeValue(s, h, []*pkcs11.Attribute{{Type: pkcs11.CKA_CLASS}, {Type: typ}})
			if err != nil {
				return nil, fmt.Errorf("reading attribute %#x: %w", typ, err)
			}
			return two[1].Value, nil
		}
	}
	if err != nil {
		return func(typ uint) ([]byte, error) { return nil, fmt.Errorf("reading attribute %#x: %w", typ, err) }
	}
	at := map[uint][]byte{}
	for _, a := range got {
		at[a.Type] = a.Value
	}
	return func(typ uint) ([]byte, error) { return at[typ], nil }
}

// number reads an attribute that is a CK_ULONG.
func (read reader) number(typ uint) (uint, error) {
	b, err := read(typ)
	if err != nil {
		return 0, err
	}
	return ulong(b)
}

// flag reads an attribute that is a CK_BBOOL. One that the module does not
// know is false: it cannot allow anything.
func (read reader) flag(typ uint) (bool, error) {
	b, err := read(typ)
	if code(err) == pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
		return false, nil
	}
	if len(b) > 1 {
		return false, odd{fmt.Sprintf("what attribute %#x allows has %d bytes", typ, len(b))}
	}
	return len(b) == 1 && b[0] != 0, err
}

// flag reads one of an object.
func (t *Token) flag(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, typ uint) (bool, error) {
	return reader(func(typ uint) ([]byte, error) { return t.get(s, h, typ) }).flag(typ)
}
