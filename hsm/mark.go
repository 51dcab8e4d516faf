//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// markedID is the CKA_ID of an object that bears a mark; that of others is their
// label.
func markedID(label, mark string) string { return label + "#" + mark }

// Bears reports whether everything that the token holds under the labels of a key,
// whole or not, was born with a mark: see [Token.GenerateMarked]. Without anything
// there it returns [ErrKeyMissing].
func (t *Token) Bears(ctx context.Context, ref keyref.Ref, mark string) (all bool, err error) {
	if !ref.Valid() || mark == "" {
		return false, fmt.Errorf("looking for the mark of a key: %w: %q", keyref.ErrMalformed, ref.Label())
	}
	err = t.with(ctx, "looking for the mark of "+ref.String(), func(s pkcs11.SessionHandle, _ *state) error {
		seen := 0
		all = true
		for _, label := range []string{ref.Label(), ref.SecondLabel()} {
			found, err := t.search(s)(label)
			if err != nil {
				return err
			}
			for _, o := range found {
				id, err := t.get(s, o.handle, pkcs11.CKA_ID)
				if err != nil && code(err) != pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
					return err
				}
				all = all && string(id) == markedID(label, mark)
				seen++
			}
		}
		if seen == 0 {
			return fmt.Errorf("%w: no object is labelled %q", ErrKeyMissing, ref.Label())
		}
		return nil
	})
	return all && err == nil, err
}
