//go:build cgo

package hsm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Require makes stored keys ready for use, all of them or none. For each it
// finds exactly one object of the label, compares its type and attributes with
// what the usage demands, and tries it out. The error names the key and says
// what is wrong with it. A key may be required again.
//
// Two masters of equal value are refused, since equal keys at two depths or in
// two functions do not separate what they protect; only keys of
// [Config.CardRealms] may equal each other.
//
// Secret keys are used from session copies where the module makes them: modules
// are much faster from those, and NSS softokn damages its memory when an HMAC
// key of the token is used after the login was lost. SoftHSM makes copies only
// of keys that may be modified, which ours of DES3 are.
func (t *Token) Require(ctx context.Context, refs ...keyref.Ref) error {
	return t.require(ctx, false, refs)
}

// RequireLate is Require for a key that may be destroyed while this process
// runs, such as an old version that is retired elsewhere: it is then missing,
// and nothing else fails for it. A key that was required before stays required.
func (t *Token) RequireLate(ctx context.Context, ref keyref.Ref) error {
	return t.require(ctx, true, []keyref.Ref{ref})
}

func (t *Token) require(ctx context.Context, late bool, refs []keyref.Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range refs {
		if !r.Valid() {
			return fmt.Errorf("requiring keys: %w: %q", keyref.ErrMalformed, r.Label())
		}
	}
	if err := t.Health(ctx); err != nil { // renews a lost login first
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	old, l, err := t.loadsAtAnchor(refs)
	if err != nil {
		return opError("requiring keys", err)
	}
	anchor := old.anchor
	fresh := map[keyref.Ref]*key{}
	for _, r := range refs {
		k, err := t.loadKey(l, r)
		if t.judge(err); err != nil {
			return opError("requiring "+r.String(), err)
		}
		k.late = late && (old.keys[r] == nil || old.keys[r].late)
		fresh[r] = k
	}
	if err := t.distinct(fresh); err != nil {
		return err
	}
	t.replace(func(keys map[keyref.Ref]*key) {
		for r, k := range fresh {
			keys[r] = k
		}
	})
	for r := range fresh { // copies that took the place of others
		if k := old.keys[r]; k != nil && (k.copied || k.scratch) {
			t.destroy(anchor, []pkcs11.ObjectHandle{k.first, k.second})
		}
	}
	return nil
}

// loadsAtAnchor prepares for making keys ready in the anchor session. When they
// cannot be listed, they are looked for one by one, in a session of its own.
func (t *Token) loadsAtAnchor(refs []keyref.Ref) (*state, *loading, error) {
	old, err := t.atAnchor()
	if err != nil {
		return nil, nil, err
	}
	l, err := t.loads(old.anchor, refs)
	if err == nil {
		return old, l, nil
	}
	t.judge(err)
	if old, err = t.atAnchor(); err != nil {
		return nil, nil, err
	}
	return old, newLoading(old.anchor, t.search(old.anchor)), nil
}

// loadKey finds, checks and tries one stored key. t.mu must be held: session
// copies are made in the anchor session. A key seems to be missing or unfit as well
// when the login is lost meanwhile: that is what is said then.
func (t *Token) loadKey(l *loading, r keyref.Ref) (*key, error) {
	k, err := t.tryKey(l, r)
	if (errors.Is(err, ErrKeyUnfit) || errors.Is(err, ErrKeyMissing)) && !t.loggedIn(l.s) {
		return nil, fmt.Errorf("loading %q: %w", r.Label(), pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return k, err
}

func (t *Token) tryKey(l *loading, r keyref.Ref) (*key, error) {
	s := l.s
	spec, _ := r.Usage.Spec()
	if need := (needs{spec.Type, spec.Role == keyref.Derive}); !l.probed[need] {
		if err := t.probe(s, spec); err != nil {
			return nil, err
		}
		l.probed[need] = true
	}
	t.nextID++
	k := &key{id: t.nextID, spec: spec}
	var err error
	if k.first, err = t.object(s, l.find, r.Label(), spec.Type, spec.Role); err != nil {
		return nil, err
	}
	if spec.Second != 0 {
		if k.second, err = t.object(s, l.find, r.SecondLabel(), spec.Type, spec.Second); err != nil {
			return nil, err
		}
	}
	switch spec.Type {
	case keyref.ECP256:
		k.public, err = t.publicKey(s, l.find, r.Label())
	case keyref.DES3:
		err = t.copyToSession(s, k)
	default:
		stored := []pkcs11.ObjectHandle{k.first, k.second}
		if err = t.copyToSession(s, k); err == nil {
			k.stored = stored
		} else if refused(err) {
			err = nil
		}
	}
	if err == nil {
		err = t.try(s, r, k)
	}
	return k, err
}

// object is the one object of a label, with the right attributes.
func (t *Token) object(s pkcs11.SessionHandle, find look, label string, typ keyref.Type, role keyref.Role) (pkcs11.ObjectHandle, error) {
	h, err := find.one(label)
	if err != nil {
		return 0, err
	}
	return h, t.check(s, h, label, typ, role)
}

// copyToSession replaces the handles of k by those of session copies, both or
// neither.
func (t *Token) copyToSession(s pkcs11.SessionHandle, k *key) error {
	var made []pkcs11.ObjectHandle
	for _, h := range []pkcs11.ObjectHandle{k.first, k.second} {
		if h == 0 {
			made = append(made, 0)
			continue
		}
		c, err := t.mod.ctx.CopyObject(s, h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false)})
		if err != nil {
			t.destroy(s, made)
			return fmt.Errorf("copying it to the session: %w", err)
		}
		made = append(made, c)
	}
	k.first, k.second, k.copied = made[0], made[1], true
	return nil
}

// refused reports whether a module makes no copy of such a key.
func refused(err error) bool {
	switch code(err) {
	case pkcs11.CKR_ACTION_PROHIBITED, pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_TEMPLATE_INCONSISTENT,
		pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_FUNCTION_NOT_SUPPORTED:
		return true
	}
	return false
}

// publicKey reads the public half of a pair.
func (t *Token) publicKey(s pkcs11.SessionHandle, find look, label string) (*ecdsa.PublicKey, error) {
	h, err := find.public(label)
	if err != nil {
		return nil, err
	}
	der, err := t.get(s, h, pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	var point []byte
	if rest, err := asn1.Unmarshal(der, &point); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the public key %q is no point", ErrKeyUnfit, label)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("%w: the public key %q is not on the curve P-256", ErrKeyUnfit, label)
	}
	return pub, nil
}

// distinct refuses masters of equal value, among fresh and against those that
// are ready already.
func (t *Token) distinct(fresh map[keyref.Ref]*key) error {
	seen := map[[8]byte][]keyref.Ref{}
	for r, k := range t.state.Load().keys {
		if fresh[r] == nil && k.spec.Master() && !k.scratch {
			seen[k.print] = append(seen[k.print], r)
		}
	}
	for r, k := range fresh {
		if !k.spec.Master() {
			continue
		}
		for _, other := range seen[k.print] {
			if t.cfg.cardRealm(r.Realm) && t.cfg.cardRealm(other.Realm) {
				continue
			}
			return fmt.Errorf("requiring keys: %w: the masters %q and %q are equal: make one of them anew", ErrKeyUnfit,
				min(r.Label(), other.Label()), max(r.Label(), other.Label()))
		}
		seen[k.print] = append(seen[k.print], r)
	}
	return nil
}
