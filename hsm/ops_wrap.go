//go:build cgo

package hsm

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

const (
	minRSA = 2048
	maxRSA = 4096
	rsaE   = 65537
)

// oaepMechanism is asked for when it is first used: a token that serves no
// secure elements need not have it.
var oaepMechanism = mechanism{pkcs11.CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP", pkcs11.CKF_WRAP}

// WrapTokenKey returns the token key at path, two levels below a slot master,
// enciphered to a secure element: its 24 bytes L‖R‖L by RSA-OAEP with SHA-1 and
// MGF1-SHA-1, which is all that SoftHSM 2.6.1 does. Parity bits are the
// module's affair. The key is made, enciphered and destroyed inside; its bytes
// are never in the memory of this process.
//
// Only masters of version [Config.ElementKeys] are used so, because whoever
// chooses peer gets the key: that peer is an element's own key, the caller has
// to know from its attestation.
func (t *Token) WrapTokenKey(ctx context.Context, path keyref.Path, peer *rsa.PublicKey) (wrapped []byte, err error) {
	if !path.Key.Usage.Slot() || t.cfg.ElementKeys == 0 || path.Key.Version != t.cfg.ElementKeys {
		return nil, fmt.Errorf("wrapping a token key: %w: %v is no slot master of secure elements", ErrKeyUnfit, path.Key)
	}
	if err := t.depth(path, keyref.Derive, 2, 2); err != nil {
		return nil, err
	}
	if err := fitRSA(peer); err != nil {
		return nil, fmt.Errorf("wrapping a token key of %v: %w", path.Key, err)
	}
	err = t.withKey(ctx, "wrapping a token key of", path.Key, keyref.DES3, func(s pkcs11.SessionHandle, k *key) error {
		if err := t.probeOne(oaepMechanism); err != nil {
			return err
		}
		t.mod.objects(3)
		wrapped, err = t.wrap(s, k.first, path, peer)
		return err
	})
	if err != nil {
		return nil, err
	}
	return wrapped, nil
}

// fitRSA refuses keys that no element of ours has.
func fitRSA(k *rsa.PublicKey) error {
	if k == nil || k.N == nil || k.N.Sign() <= 0 || k.N.Bit(0) == 0 || k.E != rsaE || k.N.BitLen() < minRSA || k.N.BitLen() > maxRSA {
		return fmt.Errorf("%w: the element's key is no RSA key of %d to %d bits with the exponent %d", keyref.ErrMalformed, minRSA, maxRSA, rsaE)
	}
	return nil
}

// wrap makes the keys, enciphers the last one, and destroys them all. One that
// cannot be destroyed is an error, after which the session is closed and takes
// it along.
func (t *Token) wrap(s pkcs11.SessionHandle, master pkcs11.ObjectHandle, path keyref.Path, peer *rsa.PublicKey) (out []byte, err error) {
	var made []pkcs11.ObjectHandle
	defer func() {
		for _, h := range made {
			err = errors.Join(err, t.mod.ctx.DestroyObject(s, h))
		}
	}()
	keep := func(h pkcs11.ObjectHandle, err error) (pkcs11.ObjectHandle, error) {
		if err == nil {
			made = append(made, h)
		}
		return h, err
	}
	to, err := keep(t.mod.ctx.CreateObject(s, peerTemplate(peer)))
	if err != nil {
		return nil, fmt.Errorf("taking the element's key: %w", err)
	}
	above, err := keep(t.mod.native.derive(s, master, diversify(path.Factors[0], 0).data, template(keyref.DES3, keyref.Derive, "", false)))
	if err != nil {
		return nil, err
	}
	leaf, err := keep(t.mod.native.derive(s, above, diversify(path.Factors[1], 0).data, leavingTemplate()))
	if err != nil {
		return nil, err
	}
	out, err = t.mod.ctx.WrapKey(s, to, leaf)
	if err == nil && len(out) != peer.Size() {
		err = odd{oddLength}
	}
	return out, err
}

// leavingTemplate is a key that may leave under another one, and do nothing
// else.
func leavingTemplate() []*pkcs11.Attribute {
	t := template(keyref.DES3, 0, "", false)
	for i, a := range t {
		if a.Type == pkcs11.CKA_EXTRACTABLE {
			t[i] = pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true)
		}
	}
	return t
}

// peerTemplate is an element's public key for the time of one call. It only
// wraps.
func peerTemplate(k *rsa.PublicKey) []*pkcs11.Attribute {
	t := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, k.N.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes()),
	}
	for _, u := range publicUsages {
		t = append(t, pkcs11.NewAttribute(u.typ, u.typ == pkcs11.CKA_WRAP))
	}
	return t
}
