//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// MAC3 returns the MAC of a message by algorithm 3 of ISO 9797-1 under a
// Triple DES key. The caller has padded the message to whole blocks.
func (t *Token) MAC3(ctx context.Context, c keyref.Chain, padded []byte) (mac [8]byte, err error) {
	chain, whole, err := chainJobs(c, padded)
	if err != nil {
		return mac, err
	}
	if !whole.hasLast { // a stored key, whose left half is an object of its own
		return t.retail(ctx, chain, whole)
	}
	chain.op, chain.whole = opRetail, whole.last
	if err := t.engine.do(ctx, chain); err != nil {
		return mac, err
	}
	return chain.macs[0], nil
}

// EncipherBlocks enciphers whole blocks under a Triple DES key, each by itself
// or chained from a zero start.
func (t *Token) EncipherBlocks(ctx context.Context, c keyref.Chain, chained bool, blocks []byte) ([]byte, error) {
	_, j, err := chainJobs(c, blocks)
	if err != nil {
		return nil, err
	}
	j.data, j.lens[0], j.count, j.op = append([]byte{}, blocks...), len(blocks), 1, opECB
	if chained {
		j.op = opChain
	}
	if err := t.engine.do(ctx, j); err != nil {
		return nil, err
	}
	return j.data, nil
}

// chainJobs returns two jobs under the key of c: one whose key is its left half
// thrice, with the message to chain, and one under the whole key. The key of
// one card is worth keeping, that of one transaction is not.
func chainJobs(c keyref.Chain, padded []byte) (chain, whole *job, err error) {
	if err := c.Check(keyref.DES3); err != nil {
		return nil, nil, fmt.Errorf("computing with %v: %w: %w", c.Key, ErrKeyUnfit, err)
	}
	if n := len(padded); n == 0 || n%8 != 0 || n > maxData {
		return nil, nil, fmt.Errorf("computing with %v: %w: %d bytes, whole blocks up to %d can be had", c.Key, keyref.ErrMalformed, n, maxData)
	}
	p := c.Path()
	chain, whole = &job{path: p, levels: int(p.Levels)}, &job{path: p, levels: int(p.Levels)}
	chain.data, chain.lens[0], chain.count = padded, len(padded), 1
	if len(c.Steps) == 0 {
		chain.second = true
		return chain, whole, nil
	}
	last := c.Steps[len(c.Steps)-1]
	chain.last, chain.hasLast = single([8]byte(last), kindEncrypts), true
	whole.last, whole.hasLast = step{kind: kindEncrypts}, true
	copy(whole.last.data[:], last)
	copy(whole.last.data[16:], last[:8])
	return chain, whole, nil
}

// CMAC returns the CMAC of a message under an AES key.
func (t *Token) CMAC(ctx context.Context, c keyref.Chain, msg []byte) (mac [16]byte, err error) {
	if err := c.Check(keyref.AES); err != nil {
		return mac, fmt.Errorf("computing with %v: %w: %w", c.Key, ErrKeyUnfit, err)
	}
	err = t.withKey(ctx, "computing with", c.Key, keyref.AES, func(s pkcs11.SessionHandle, k *key) error {
		h, done, err := t.derived(s, k, c.Steps, keyref.Sign)
		defer done()
		if err != nil {
			return err
		}
		b, err := t.sign(s, pkcs11.CKM_AES_CMAC, h, msg)
		copy(mac[:], b)
		return err
	})
	return mac, err
}

// derived makes session keys along steps, of which the last has a role, and
// returns that one. done destroys them all.
func (t *Token) derived(s pkcs11.SessionHandle, k *key, steps [][]byte, role keyref.Role) (h pkcs11.ObjectHandle, done func(), err error) {
	var made []pkcs11.ObjectHandle
	done = func() { t.destroy(s, made) }
	h = k.first
	for i, data := range steps {
		r := keyref.Derive
		if i == len(steps)-1 {
			r = role
		}
		t.mod.objects(1)
		if h, err = t.child(s, h, k.spec.Type, data, r); err != nil {
			return 0, done, fmt.Errorf("deriving from it: %w", err)
		}
		made = append(made, h)
	}
	return h, done, nil
}

// child makes one session key of the cipher text of data under another.
func (t *Token) child(s pkcs11.SessionHandle, parent pkcs11.ObjectHandle, typ keyref.Type, data []byte, role keyref.Role) (pkcs11.ObjectHandle, error) {
	if typ == keyref.SM4 {
		return t.childSM4(s, parent, data, role)
	}
	tpl := template(typ, role, "", false)
	if typ == keyref.DES3 {
		return t.mod.native.deriveBy(s, parent, pkcs11.CKM_DES3_ECB_ENCRYPT_DATA, thrice(data), tpl)
	}
	n, err := t.number(s, parent, pkcs11.CKA_VALUE_LEN)
	if err != nil {
		return 0, err
	}
	if uint(len(data)) < n {
		return 0, fmt.Errorf("%w: one block makes no key of %d bytes", ErrKeyUnfit, n)
	}
	return t.mod.native.deriveBy(s, parent, pkcs11.CKM_AES_ECB_ENCRYPT_DATA, data, append(tpl, pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, n)))
}

// thrice turns L‖R into L‖R‖L, as CKK_DES3 wants it.
func thrice(data []byte) []byte { return append(append([]byte{}, data...), data[:8]...) }

// Reveal returns the 16 bytes of a Triple DES key. It is for keys that are made
// to leave: those of one transaction, or of a span of time, that go to a phone,
// two steps below their masters. With [Config.RevealCardKeys] it also gives the
// keys of one card, one step below, that Visa's rules need in memory. The
// caller zeroes the key.
func (t *Token) Reveal(ctx context.Context, c keyref.Chain) ([]byte, error) {
	if err := c.Check(keyref.DES3); err != nil {
		return nil, fmt.Errorf("revealing a key of %v: %w: %w", c.Key, ErrKeyUnfit, err)
	}
	if !t.mayReveal(c) {
		return nil, fmt.Errorf("revealing a key of %v: %w: it is not made to leave", c.Key, ErrKeyUnfit)
	}
	secret, err := newSecret()
	if err != nil {
		return nil, fmt.Errorf("revealing a key of %v: %w", c.Key, err)
	}
	defer freeSecret(secret)
	last := len(c.Steps) - 1
	err = t.withKey(ctx, "revealing a key of", c.Key, keyref.DES3, func(s pkcs11.SessionHandle, k *key) error {
		h, done, err := t.derived(s, k, c.Steps[:last], keyref.Derive)
		defer done()
		if err != nil {
			return err
		}
		t.mod.objects(1)
		return t.mod.native.reveal(s, h, pkcs11.CKM_DES3_ECB_ENCRYPT_DATA, c.Steps[last], secret)
	})
	if err != nil {
		return nil, err
	}
	return append([]byte{}, secret[:16]...), nil
}

func (t *Token) mayReveal(c keyref.Chain) bool {
	switch c.Key.Usage {
	case keyref.DeviceMaster, keyref.UserMaster, keyref.LimitedUseMaster:
		return len(c.Steps) == 2
	case keyref.ACMaster, keyref.IntegrityMaster, keyref.ConfidentialityMaster:
		return len(c.Steps) == 1 && t.cfg.RevealCardKeys
	}
	return false
}
