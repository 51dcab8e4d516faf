//go:build cgo

package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// ReadBack compares the objects of a stored key with what its usage demands,
// as at its birth, and says in words what was read.
func (t *Token) ReadBack(ctx context.Context, ref keyref.Ref) (info keyref.Info, traits string, err error) {
	if !ref.Valid() {
		return info, "", fmt.Errorf("reading a key back: %w: %q", keyref.ErrMalformed, ref.Label())
	}
	spec, _ := ref.Usage.Spec()
	err = t.with(ctx, "reading back "+ref.String(), func(s pkcs11.SessionHandle, _ *state) error {
		info, err = t.readBack(s, ref, spec)
		return spoilt(ref.Label(), err)
	})
	return info, describe(spec, info.Local, t.mod.native.nss), err
}

func (t *Token) readBack(s pkcs11.SessionHandle, ref keyref.Ref, spec keyref.Spec) (info keyref.Info, err error) {
	if err := t.checkBirth(s, ref, spec); err != nil {
		return info, err
	}
	h, err := t.search(s).one(ref.Label())
	if err != nil {
		return info, err
	}
	info = keyref.Info{Ref: ref, Spec: spec, State: "ACTIVE"}
	if info.Local, err = t.local(s, h); err != nil {
		return info, err
	}
	if spec.Type == keyref.ECP256 {
		if _, err = t.publicKey(s, t.search(s), ref.Label()); err != nil { // a pair of which half is missing
			return info, err
		}
	}
	info.Check, err = t.checkValue(s, h, ref, spec)
	return info, err
}

// spoilt is an error about a key that is there and that the module cannot read or
// compute with: SoftHSM can be killed between a key's attributes and its value.
// What says that the token is gone stays what it is.
func spoilt(label string, err error) error {
	if code(err) == pkcs11.CKR_OK || lost(err) || errors.Is(err, errSearching) || ofModule(err) {
		return err
	}
	return fmt.Errorf("%w: %q cannot be used, as a key whose birth was cut off: %v", ErrKeyUnfit, label, err)
}

// describe says what checkBirth has found to be so.
func describe(spec keyref.Spec, local, forgets bool) string {
	k := kinds[spec.Type]
	words := []string{strings.TrimPrefix(strings.TrimPrefix(k.name, "an "), "a "), "token object", "private", "sensitive", "not extractable"}
	if spec.Type != keyref.DES3 {
		words = append(words, "not modifiable")
	}
	born := "imported"
	if forgets { // NSS does not remember it of secret keys
		born = "the module does not say where it was made"
	}
	if local {
		born = "made inside"
	}
	var roles []string
	for _, r := range []keyref.Role{spec.Role, spec.Second} {
		for _, u := range k.usages {
			if r != 0 && u.role == r {
				roles = append(roles, u.name)
			}
		}
	}
	return strings.Join(append(words, "only "+strings.Join(roles, ", twin only "), born), "; ")
}

// Unlabelled names the token's objects that have no label, whatever they are. A
// process that is killed while a key is born can leave one: no key of tapvault
// is without a label. With destroy they are destroyed, and named as well.
func (t *Token) Unlabelled(ctx context.Context, destroy bool) (names []string, err error) {
	gone, left, err := t.unlabelled(ctx, func([]byte) bool { return destroy })
	return append(gone, left...), err
}

// Birth is what a key is born with: see [Token.GenerateMarked].
type Birth struct {
	Ref  keyref.Ref
	Mark string
}

// Orphans destroys objects without a label that births left which were cut off: those that bear
// a mark of theirs and, if there are any, those that got no CKA_ID yet. Objects
// of other births are left. It names both.
func (t *Token) Orphans(ctx context.Context, births []Birth) (gone, left []string, err error) {
	ids := map[string]bool{"": len(births) > 0}
	for _, b := range births {
		ids[markedID(b.Ref.Label(), b.Mark)] = true
		ids[markedID(b.Ref.SecondLabel(), b.Mark)] = true
	}
	return t.unlabelled(ctx, func(id []byte) bool { return ids[string(id)] })
}

// unlabelled names objects without a label, and destroys those of an ID that doomed names.
func (t *Token) unlabelled(ctx context.Context, doomed func(id []byte) bool) (gone, left []string, err error) {
	err = t.with(ctx, "looking for objects without a label", func(s pkcs11.SessionHandle, _ *state) error {
		t.mod.mu.Lock() // not while another key of this process is being born
		defer t.mod.mu.Unlock()
		gone, left = nil, nil
		all, err := t.find(s, 10000, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true))
		if err != nil {
			return err
		}
		for _, h := range all {
			label, err := t.get(s, h, pkcs11.CKA_LABEL)
			if err != nil && code(err) != pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
				return err
			}
			if len(bytes.TrimSpace(label)) > 0 {
				continue
			}
			id, err := t.get(s, h, pkcs11.CKA_ID)
			if err != nil && code(err) != pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
				return err
			}
			name := fmt.Sprintf("an object without a label (handle %d)", h)
			if !doomed(id) {
				left = append(left, name)
				continue
			}
			if err := t.mod.ctx.DestroyObject(s, h); err != nil {
				return err
			}
			gone = append(gone, name)
		}
		return nil
	})
	return gone, left, err
}

// Trial computes something with a stored key that two keys agree on only when
// they are equal, and that says nothing about them: for a key whose check value
// says all that can be said, it is empty after the key was tried.
func (t *Token) Trial(ctx context.Context, ref keyref.Ref) (out []byte, err error) {
	if err := t.Require(ctx, ref); err != nil {
		return nil, err
	}
	spec, _ := ref.Usage.Spec()
	err = t.withKey(ctx, "trying", ref, spec.Type, func(s pkcs11.SessionHandle, k *key) error {
		out = nil
		switch {
		case spec.Type == keyref.HMAC:
			mac, err := t.sign(s, pkcs11.CKM_SHA256_HMAC, k.first, []byte("trial of a restored key"))
			if err == nil {
				out = mac[:8]
			}
			return err
		case spec.Master():
			out = bytes.Clone(k.print[:])
		case spec.Type == keyref.DES3:
			block, err := t.encipher(s, k.first, [8]byte([]byte("trial of")))
			out = block[:]
			return err
		}
		return nil
	})
	return out, err
}
