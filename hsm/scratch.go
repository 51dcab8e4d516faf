//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// ImportScratch makes a key of a given value as session objects, ready for use
// at once: for conformance runs and measurements. It is gone when the token is
// closed or the login was lost. It refuses a reference that is in use.
func (t *Token) ImportScratch(ctx context.Context, ref keyref.Ref, value []byte) error {
	if !ref.Valid() {
		return fmt.Errorf("importing a scratch key: %w: %q", keyref.ErrMalformed, ref.Label())
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	spec, _ := ref.Usage.Spec()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	st, err := t.atAnchor()
	if err != nil {
		return err
	}
	if st.keys[ref] != nil {
		return fmt.Errorf("importing a scratch key: %w: %v", ErrKeyExists, ref)
	}
	if err := t.probe(st.anchor, spec); err != nil {
		return err
	}
	if spec.Type != keyref.DES3 && spec.Type != keyref.AES && spec.Type != keyref.SM4 {
		return fmt.Errorf("importing a scratch key: %w: %v is no DES3 key, and none of SM4 or EMV", ErrKeyUnfit, ref)
	}
	made, err := t.create(st.anchor, newborn{Ref: ref, spec: spec}, value, false)
	if t.judge(err); err != nil {
		t.destroy(st.anchor, made)
		return opError("importing scratch key "+ref.String(), err)
	}
	t.nextID++
	k := &key{id: t.nextID, spec: spec, first: made[0], scratch: true}
	if len(made) > 1 {
		k.second = made[1]
	}
	t.replace(func(keys map[keyref.Ref]*key) { keys[ref] = k })
	return nil
}

// Forget destroys a scratch key.
func (t *Token) Forget(ctx context.Context, ref keyref.Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.state.Load()
	k := st.keys[ref]
	if k == nil || !k.scratch {
		return fmt.Errorf("forgetting %v: %w: it is no scratch key", ref, ErrKeyMissing)
	}
	t.replace(func(keys map[keyref.Ref]*key) { delete(keys, ref) })
	t.destroy(st.anchor, []pkcs11.ObjectHandle{k.first, k.second})
	return nil
}

// destroy removes session objects. When that fails, the session is closed
// before it is used again, and they die with it.
func (t *Token) destroy(s pkcs11.SessionHandle, hs []pkcs11.ObjectHandle) {
	for _, h := range hs {
		if h != 0 {
			if t.mod.ctx.DestroyObject(s, h) != nil {
				t.spoiled.Store(s, true)
			}
		}
	}
}
