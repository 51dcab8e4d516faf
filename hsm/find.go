//go:build cgo

package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"
)

// find returns up to max handles of objects that match a template. A search
// without login sees no private objects; that is an error, not "none".
func (t *Token) find(s pkcs11.SessionHandle, max int, template ...*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	if err := t.mod.ctx.FindObjectsInit(s, template); err != nil {
		return nil, fmt.Errorf("searching: %w", err)
	}
	defer func() { // always: a search left open refuses the session's next one
		if ferr := t.mod.ctx.FindObjectsFinal(s); err == nil && ferr != nil {
			err = fmt.Errorf("ending a search: %w", ferr)
		}
	}()
	for len(found) < max {
		hs, _, err := t.mod.ctx.FindObjects(s, max-len(found))
		if err != nil {
			return nil, fmt.Errorf("searching: %w", err)
		}
		if len(hs) == 0 {
			break
		}
		found = append(found, hs...)
	}
	if !t.loggedIn(s) {
		return nil, fmt.Errorf("searching: %w", pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return found, nil
}

// labelled returns up to max token objects of a label, public keys apart.
func (t *Token) labelled(s pkcs11.SessionHandle, label string, max int) (found []pkcs11.ObjectHandle, err error) {
	all, err := t.find(s, max+1, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		class, err := t.number(s, h, pkcs11.CKA_CLASS)
		if err != nil {
			return nil, err
		}
		if class != pkcs11.CKO_PUBLIC_KEY && len(found) < max {
			found = append(found, h)
		}
	}
	return found, nil
}

// one returns the only object of a label. Two are asked for, so that a second
// one is seen.
func (t *Token) one(s pkcs11.SessionHandle, label string) (pkcs11.ObjectHandle, error) {
	found, err := t.labelled(s, label, 2)
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, fmt.Errorf("%w: no object is labelled %q: generate or import it", ErrKeyMissing, label)
	case len(found) > 1:
		return 0, fmt.Errorf("%w: two or more objects are labelled %q: destroy all but the right one", ErrKeyAmbiguous, label)
	}
	return found[0], nil
}

// get reads one attribute.
func (t *Token) get(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, typ uint) ([]byte, error) {
	a, err := t.mod.ctx.GetAttributeValue(s, h, []*pkcs11.Attribute{{Type: typ}})
	if err != nil {
		return nil, fmt.Errorf("reading attribute %#x: %w", typ, err)
	}
	return a[0].Value, nil
}

// number reads an attribute that is a CK_ULONG.
func (t *Token) number(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, typ uint) (uint, error) {
	b, err := t.get(s, h, typ)
	if err != nil {
		return 0, err
	}
	return ulong(b)
}
