//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Generate makes a key inside the token; its value is never outside. It
// refuses a label that exists. What it made is read back and compared with
// what the usage demands; if anything fails, nothing stays behind.
//
// The key is not ready for use until it is required.
func (t *Token) Generate(ctx context.Context, ref keyref.Ref) error {
	return t.GenerateMarked(ctx, ref, "")
}

// GenerateMarked is Generate of a key that can be told from any other of its
// label: see [Token.Bears].
func (t *Token) GenerateMarked(ctx context.Context, ref keyref.Ref, mark string) error {
	return t.birth(ctx, "generating", ref, func(s pkcs11.SessionHandle, spec keyref.Spec) ([]pkcs11.ObjectHandle, error) {
		n := newborn{ref, spec, mark}
		if births[spec.Type].name == "" {
			return nil, fmt.Errorf("%w: %v is imported and not made inside", ErrKeyUnfit, ref)
		}
		if err := t.probeOne(births[spec.Type]); err != nil {
			return nil, err
		}
		switch {
		case spec.Type == keyref.ECP256:
			return t.generatePair(s, n)
		case spec.Type == keyref.DES3:
			return t.generateDES3(s, n)
		}
		h, err := t.mod.ctx.GenerateKey(s, mechOf(births[spec.Type]), append(template(spec.Type, 0, "", false),
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, uint(32))))
		if err != nil {
			return nil, err
		}
		return t.settle(s, h, n)
	})
}

// Import makes a key of a given value: 16 bytes for DES3, 16, 24 or 32 for AES,
// 32 for the other secret keys. A [keyref.FoldedTAC] key is folded here. Otherwise it is like
// [Token.Generate]. The caller wipes the value.
func (t *Token) Import(ctx context.Context, ref keyref.Ref, value []byte) error {
	return t.ImportMarked(ctx, ref, value, "")
}

// ImportMarked is Import of a key that can be told from any other of its label:
// see [Token.Bears].
func (t *Token) ImportMarked(ctx context.Context, ref keyref.Ref, value []byte, mark string) error {
	return t.birth(ctx, "importing", ref, func(s pkcs11.SessionHandle, spec keyref.Spec) ([]pkcs11.ObjectHandle, error) {
		return t.create(s, newborn{ref, spec, mark}, value, true)
	})
}

// newborn is a key that is being made.
type newborn struct {
	keyref.Ref
	spec keyref.Spec
	mark string // of its objects, or empty
}

// marked gives the template of an object of a label the newborn's mark.
func (n newborn) marked(label string, template []*pkcs11.Attribute) []*pkcs11.Attribute {
	for i, a := range template {
		if a.Type == pkcs11.CKA_ID && n.mark != "" {
			template[i] = pkcs11.NewAttribute(pkcs11.CKA_ID, markedID(label, n.mark))
		}
	}
	return template
}

// birth runs make for a label that is free, checks what it made, and destroys
// it all after any failure.
func (t *Token) birth(ctx context.Context, doing string, ref keyref.Ref, make func(pkcs11.SessionHandle, keyref.Spec) ([]pkcs11.ObjectHandle, error)) error {
	if !ref.Valid() {
		return fmt.Errorf("%s a key: %w: %q", doing, keyref.ErrMalformed, ref.Label())
	}
	spec, _ := ref.Usage.Spec()
	var failed error // of the first try, when the login was lost
	return t.with(ctx, doing+" "+ref.String(), func(s pkcs11.SessionHandle, st *state) error {
		t.mod.mu.Lock() // two births of one label in this process: one of them finds it taken
		defer t.mod.mu.Unlock()
		switch err := t.absent(s, ref, spec); {
		case failed != nil && errors.Is(err, ErrKeyExists):
			return leftover{failed, ref.Label()}
		case err != nil:
			return err
		}
		if err := t.probe(s, spec); err != nil { // a key that could not be used is not left behind
			return err
		}
		made, err := make(s, spec)
		err = roomError(err)
		if err == nil {
			err = t.checkBirth(s, ref, spec)
		}
		if err != nil {
			for _, h := range made {
				t.mod.ctx.DestroyObject(s, h) // the first error is the one that counts
			}
			if failed = err; errors.Is(t.absent(s, ref, spec), ErrKeyExists) {
				err = leftover{failed, ref.Label()}
			}
		}
		return err
	})
}

// leftover is a birth that failed, of which something stayed: a call took effect, and
// answered that it did not.
type leftover struct {
	failed error
	label  string
}

func (l leftover) Error() string {
	return fmt.Sprintf("%v; something was made all the same: the token holds %q, whole or not", told(l.failed), l.label)
}

// Unwrap says that there is a key of this label now, too.
func (l leftover) Unwrap() []error { return []error{l.failed, ErrKeyExists} }

// roomError says what to do about a token that takes no more keys.
func roomError(err error) error {
	switch code(err) {
	case pkcs11.CKR_DEVICE_MEMORY:
		return fmt.Errorf("the token is full: destroy retired keys on it, or take a larger one: %w", err)
	case pkcs11.CKR_TOKEN_WRITE_PROTECTED, pkcs11.CKR_SESSION_READ_ONLY:
		return fmt.Errorf("the token is read-only: lift its write protection: %w", err)
	}
	return err
}

// absent refuses labels under which anything exists, public keys included.
func (t *Token) absent(s pkcs11.SessionHandle, ref keyref.Ref, spec keyref.Spec) error {
	labels := []string{ref.Label()}
	if spec.Second != 0 {
		labels = append(labels, ref.SecondLabel())
	}
	for _, l := range labels {
		found, err := t.find(s, 1, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, l))
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("%w: %q: it is never overwritten", ErrKeyExists, l)
		}
	}
	return nil
}

// checkBirth reads a new key back.
func (t *Token) checkBirth(s pkcs11.SessionHandle, ref keyref.Ref, spec keyref.Spec) error {
	objects := map[string]keyref.Role{ref.Label(): spec.Role}
	if spec.Second != 0 {
		objects[ref.SecondLabel()] = spec.Second
	}
	for label, role := range objects {
		h, err := t.object(s, t.search(s), label, spec.Type, role)
		if err != nil {
			return fmt.Errorf("reading it back: %w", err)
		}
		may, err := t.flag(s, h, pkcs11.CKA_MODIFIABLE)
		if err != nil {
			return err
		}
		if may && spec.Type != keyref.DES3 {
			return fmt.Errorf("reading it back: %w: %q may be modified", ErrKeyUnfit, label)
		}
	}
	return nil
}

// settle turns a session key without any use into the token objects of ref,
// one use each, and destroys it.
func (t *Token) settle(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, n newborn) (made []pkcs11.ObjectHandle, err error) {
	defer t.destroy(s, []pkcs11.ObjectHandle{h})
	c, err := t.mod.ctx.CopyObject(s, h, n.marked(n.Label(), traits(n.spec.Type, n.spec.Role, n.Label(), true)))
	if err != nil {
		return nil, fmt.Errorf("storing it: %w", err)
	}
	made = append(made, c)
	if n.spec.Second != 0 {
		if c, err = t.mod.ctx.CopyObject(s, h, n.marked(n.SecondLabel(), traits(n.spec.Type, n.spec.Second, n.SecondLabel(), true))); err != nil {
			return made, fmt.Errorf("storing its twin: %w", err)
		}
		made = append(made, c)
	}
	return made, nil
}

func mechOf(m mechanism) []*pkcs11.Mechanism {
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(m.typ, nil)}
}

func (t *Token) generatePair(s pkcs11.SessionHandle, n newborn) ([]pkcs11.ObjectHandle, error) {
	label, role := n.Label(), n.spec.Role
	pub, priv, err := t.mod.ctx.GenerateKeyPair(s, mechOf(births[keyref.ECP256]), n.marked(label, publicTemplate(label, role)),
		n.marked(label, template(keyref.ECP256, role, label, true)))
	if err != nil {
		return nil, err
	}
	return []pkcs11.ObjectHandle{pub, priv}, nil
}

// generateDES3 makes a double-length key inside. CKM_DES3_KEY_GEN gives three
// independent parts, and a master's first and third must be equal; so the key
// is derived, by random data, from such a key that dies at once.
func (t *Token) generateDES3(s pkcs11.SessionHandle, n newborn) ([]pkcs11.ObjectHandle, error) {
	seed, err := t.mod.ctx.GenerateKey(s, mechOf(births[keyref.DES3]), template(keyref.DES3, keyref.Derive, "", false))
	if err != nil {
		return nil, err
	}
	defer t.destroy(s, []pkcs11.ObjectHandle{seed})
	data, err := t.mod.ctx.GenerateRandom(s, 16)
	if err != nil {
		return nil, err
	}
	var extra [16]byte
	if _, err := io.ReadFull(t.cfg.Rand, extra[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	for i := range data {
		data[i] ^= extra[i]
	}
	return t.desObjects(n, [16]byte(data), func(v [24]byte, tpl []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
		return t.mod.native.derive(s, seed, v, tpl)
	}, true)
}

// valueLens are the lengths of a value that becomes a key of a type.
var valueLens = map[keyref.Type][]int{keyref.DES3: {16}, keyref.AES256: {32}, keyref.HMAC: {32}, keyref.AES: {16, 24, 32}, keyref.SM4: {16}}

// create makes the objects of a key of a given value, on the token or for the
// session.
func (t *Token) create(s pkcs11.SessionHandle, n newborn, value []byte, token bool) (made []pkcs11.ObjectHandle, err error) {
	spec := n.spec
	if !slices.Contains(valueLens[spec.Type], len(value)) {
		return nil, fmt.Errorf("%w: a value of %d bytes cannot become %s", keyref.ErrMalformed, len(value), kinds[spec.Type].name)
	}
	store := func(v []byte, tpl []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
		return t.bring(s, v, tpl)
	}
	if spec.Type == keyref.DES3 {
		return t.desObjects(n, [16]byte(value), func(v [24]byte, tpl []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
			defer clear(v[:])
			return store(v[:], tpl)
		}, token)
	}
	if spec.Second == 0 {
		h, err := store(value, n.marked(n.Label(), t.template(spec.Type, spec.Role, n.Label(), token)))
		return []pkcs11.ObjectHandle{h}, err
	}
	h, err := store(value, template(spec.Type, 0, "", false))
	if err != nil {
		return nil, err
	}
	return t.settle(s, h, n)
}

// desObjects makes the object or objects of a DES3 key from 16 bytes: the
// whole key L‖R‖L; of a folded key, its fold thrice; of a retail key also the
// left half alone.
func (t *Token) desObjects(n newborn, v [16]byte, store func([24]byte, []*pkcs11.Attribute) (pkcs11.ObjectHandle, error), token bool) (made []pkcs11.ObjectHandle, err error) {
	defer clear(v[:])
	spec := n.spec
	var whole, left [24]byte
	defer clear(whole[:])
	defer clear(left[:])
	copy(whole[:], v[:])
	copy(whole[16:], v[:8])
	for i := range left {
		left[i] = v[i%8]
		if n.Usage == keyref.FoldedTAC {
			whole[i] = v[i%8] ^ v[8+i%8]
		}
	}
	h, err := store(whole, n.marked(n.Label(), template(spec.Type, spec.Role, n.Label(), token)))
	if err != nil {
		return nil, err
	}
	made = append(made, h)
	if spec.Second != 0 {
		if h, err = store(left, n.marked(n.SecondLabel(), template(spec.Type, spec.Second, n.SecondLabel(), token))); err != nil {
			return made, err
		}
		made = append(made, h)
	}
	return made, nil
}
