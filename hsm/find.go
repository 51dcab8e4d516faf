//go:build cgo

package hsm

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// errSearching is a part of errors of searches, which say nothing of the key that was
// looked for, not even that there is one.
var errSearching = errors.New("searching")

// find returns up to max handles of objects that match a template. A search
// without login sees no private objects; that is an error, not "none".
func (t *Token) find(s pkcs11.SessionHandle, max int, template ...*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	if err := t.mod.ctx.FindObjectsInit(s, template); err != nil {
		return nil, fmt.Errorf("%w: %w", errSearching, err)
	}
	defer func() { // always: a search left open refuses the session's next one
		if ferr := t.mod.ctx.FindObjectsFinal(s); err == nil && ferr != nil {
			err = fmt.Errorf("%w, its end: %w", errSearching, ferr)
		}
	}()
	for len(found) < max {
		hs, _, err := t.mod.ctx.FindObjects(s, min(max-len(found), 1024))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errSearching, err)
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

// one returns the only object of a label, public keys apart.
func (find look) one(label string) (pkcs11.ObjectHandle, error) {
	found, err := find.only(label, func(class uint) bool { return class != pkcs11.CKO_PUBLIC_KEY })
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

// public returns the only public key of a label.
func (find look) public(label string) (pkcs11.ObjectHandle, error) {
	found, err := find.only(label, func(class uint) bool { return class == pkcs11.CKO_PUBLIC_KEY })
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, fmt.Errorf("%w: no public key is labelled %q", ErrKeyMissing, label)
	case len(found) > 1:
		return 0, fmt.Errorf("%w: two or more public keys are labelled %q", ErrKeyAmbiguous, label)
	}
	return found[0], nil
}

// only returns the objects of a label and of the classes that ok names.
func (find look) only(label string, ok func(class uint) bool) (hs []pkcs11.ObjectHandle, err error) {
	found, err := find(label)
	for _, o := range found {
		if ok(o.class) {
			hs = append(hs, o.handle)
		}
	}
	return hs, err
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
