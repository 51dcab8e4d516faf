//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Destroy ends a stored key for good: every object of its labels. Whether
// anything still needs it is the caller's to know. Destroying a key that does
// not exist is an error, [ErrKeyMissing].
func (t *Token) Destroy(ctx context.Context, ref keyref.Ref) error {
	if !ref.Valid() {
		return fmt.Errorf("destroying a key: %w: %q", keyref.ErrMalformed, ref.Label())
	}
	err := t.with(ctx, "destroying "+ref.String(), func(s pkcs11.SessionHandle, _ *state) error {
		t.mod.mu.Lock()
		defer t.mod.mu.Unlock()
		gone := 0
		// The second object first: without it nothing sealed can be opened, so
		// a key of which the first one is left is plainly no key any more.
		for _, label := range []string{ref.SecondLabel(), ref.Label()} {
			found, err := t.find(s, 16, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
			if err != nil {
				return err
			}
			for _, h := range found {
				if err := t.mod.ctx.DestroyObject(s, h); err != nil {
					return err
				}
				gone++
			}
			if found, err = t.find(s, 1, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)); err != nil {
				return err
			}
			if len(found) > 0 {
				return odd{fmt.Sprintf("it says that it destroyed %q, which is still there", label)}
			}
		}
		if gone == 0 {
			return fmt.Errorf("%w: no object is labelled %q", ErrKeyMissing, ref.Label())
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replace(func(keys map[keyref.Ref]*key) { delete(keys, ref) })
	return nil
}
