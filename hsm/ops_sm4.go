//go:build cgo

package hsm

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

const sm4Block = 16

// kind is what the module calls a type of key. PKCS #11 has no number for SM4.
func (t *Token) kind(typ keyref.Type) kindOf {
	k := kinds[typ]
	if typ == keyref.SM4 {
		k.key = t.cfg.SM4.KeyType
	}
	return k
}

// template is the package's own, with the vendor's key type.
func (t *Token) template(typ keyref.Type, role keyref.Role, label string, token bool) []*pkcs11.Attribute {
	tpl := template(typ, role, label, token)
	for i, a := range tpl {
		if typ == keyref.SM4 && a.Type == pkcs11.CKA_KEY_TYPE {
			tpl[i] = pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, t.cfg.SM4.KeyType)
		}
	}
	return tpl
}

// sm4Mechanisms are those that the vendor's numbers name.
func (t *Token) sm4Mechanisms() []mechanism {
	return []mechanism{{t.cfg.SM4.Derive, fmt.Sprintf("%#x (SM4 derivation)", t.cfg.SM4.Derive), pkcs11.CKF_DERIVE},
		{t.cfg.SM4.CBC, fmt.Sprintf("%#x (SM4 CBC)", t.cfg.SM4.CBC), pkcs11.CKF_ENCRYPT}}
}

func (t *Token) derivesSM4(s pkcs11.SessionHandle) bool {
	value := []byte("a key of no worth")[:sm4Block]
	h, err := t.mod.native.create(s, append(t.template(keyref.SM4, keyref.Derive, "", false), &pkcs11.Attribute{Type: pkcs11.CKA_VALUE, Value: value}))
	if err != nil {
		return false
	}
	child, err := t.childSM4(s, h, value, keyref.Encrypt)
	if err != nil {
		child = 0
	}
	t.destroy(s, []pkcs11.ObjectHandle{h, child})
	return err == nil
}

// childSM4 makes one session key of the cipher text of a block.
func (t *Token) childSM4(s pkcs11.SessionHandle, parent pkcs11.ObjectHandle, data []byte, role keyref.Role) (pkcs11.ObjectHandle, error) {
	tpl := t.template(keyref.SM4, role, "", false)
	if t.cfg.SM4.ValueLen {
		tpl = append(tpl, pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, uint(sm4Block)))
	}
	return t.mod.native.deriveBy(s, parent, t.cfg.SM4.Derive, data, tpl)
}

// sm4MACs computes MACs under the key at the end of steps, all of them inside.
func (t *Token) sm4MACs(ctx context.Context, ref keyref.Ref, steps [][]byte, msgs [][]byte) (out [][4]byte, err error) {
	total := 0
	for _, m := range msgs {
		total += len(m)/sm4Block*sm4Block + sm4Block
	}
	if len(msgs) == 0 || len(msgs) > maxMessages || total > maxData {
		return nil, fmt.Errorf("computing with %v: %w: %d messages of %d bytes, at most %d of %d in all", ref,
			keyref.ErrMalformed, len(msgs), total, maxMessages, maxData)
	}
	err = t.withKey(ctx, "computing with", ref, keyref.SM4, func(s pkcs11.SessionHandle, k *key) error {
		out = make([][4]byte, len(msgs))
		h, done, err := t.derived(s, k, steps, keyref.Encrypt)
		defer done()
		for i := 0; err == nil && i < len(msgs); i++ {
			out[i], err = t.sm4MAC(s, h, msgs[i])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// sm4Whole returns the MAC of a message under a whole TAC key.
func (t *Token) sm4Whole(ctx context.Context, path keyref.Path, msg []byte) (mac [4]byte, err error) {
	if err := path.CheckSM4(false); err != nil {
		return mac, fmt.Errorf("computing with %v: %w: %w", path.Key, ErrKeyUnfit, err)
	}
	macs, err := t.sm4MACs(ctx, path.Key, path.Steps(), [][]byte{msg})
	if err != nil {
		return mac, err
	}
	return macs[0], nil
}

// sm4MAC chains one message, padded with 80 and zeros, from a zero start.
func (t *Token) sm4MAC(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, msg []byte) (mac [4]byte, err error) {
	padded := make([]byte, len(msg)/sm4Block*sm4Block+sm4Block)
	copy(padded, msg)
	padded[len(msg)] = 0x80
	m := []*pkcs11.Mechanism{pkcs11.NewMechanism(t.cfg.SM4.CBC, make([]byte, sm4Block))}
	if err := t.mod.ctx.EncryptInit(s, m, h); err != nil {
		return mac, err
	}
	out, err := t.mod.native.encrypt(s, padded, len(padded))
	if err == nil && len(out) != len(padded) {
		err = odd{oddLength}
	}
	if err != nil {
		return mac, err
	}
	copy(mac[:], out[len(out)-sm4Block:])
	return mac, nil
}

// trySM4 derives from a master, which gives what tells it from others, or
// enciphers under a key.
func (t *Token) trySM4(s pkcs11.SessionHandle, k *key) (err error) {
	h := k.first
	if k.spec.Master() {
		if h, err = t.childSM4(s, h, []byte("tapvault trial. "), keyref.Encrypt); err != nil {
			return err
		}
		defer t.destroy(s, []pkcs11.ObjectHandle{h})
	}
	a, err := t.sm4MAC(s, h, []byte("trial"))
	if err != nil {
		return err
	}
	b, err := t.sm4MAC(s, h, []byte("another"))
	copy(k.print[:4], a[:])
	copy(k.print[4:], b[:])
	return err
}
