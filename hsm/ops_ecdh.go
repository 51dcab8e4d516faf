//go:build cgo

package hsm

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/subtle"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// ECDH computes the secret that a stored key shares with peer, the x coordinate
// of their product on P-256, and lends it to use. The secret is in locked memory
// and is wiped when use returns: use must not keep the slice. Its error is
// returned as it is.
func (t *Token) ECDH(ctx context.Context, ref keyref.Ref, peer *ecdh.PublicKey, use func(secret []byte) error) error {
	if peer == nil || peer.Curve() != ecdh.P256() {
		return fmt.Errorf("agreeing with %v: %w: the peer's key is not on the curve P-256", ref, keyref.ErrMalformed)
	}
	secret, err := newSecret()
	if err != nil {
		return fmt.Errorf("agreeing with %v: %w", ref, err)
	}
	defer freeSecret(secret)
	err = t.withKey(ctx, "agreeing with", ref, keyref.ECP256, func(s pkcs11.SessionHandle, k *key) error {
		if k.spec.Role != keyref.Derive {
			return ErrKeyUnfit
		}
		t.mod.objects(1)
		return t.mod.native.ecdh(s, k.first, [65]byte(peer.Bytes()), secret)
	})
	if err != nil {
		return err
	}
	return use(secret)
}

// UnsealSecret is [Token.Unseal] for 32 bytes that nobody may keep: it lends them
// to use in locked memory and wipes them when use returns. Its error is returned
// as it is.
func (t *Token) UnsealSecret(ctx context.Context, ref keyref.Ref, sealed, aad []byte, use func(secret []byte) error) error {
	secret, err := newSecret()
	if err != nil {
		return fmt.Errorf("unsealing under %v: %w", ref, err)
	}
	defer freeSecret(secret)
	plain, err := t.Unseal(ctx, ref, sealed, aad)
	defer clear(plain)
	if err != nil {
		return err
	}
	if len(plain) != len(secret) {
		return fmt.Errorf("unsealing under %v: %w", ref, errSealed)
	}
	copy(secret, plain)
	clear(plain)
	return use(secret)
}

// tryECDH agrees with a key that dies at once, from both sides.
func (t *Token) tryECDH(s pkcs11.SessionHandle, r keyref.Ref, k *key) error {
	trial, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making a trial key: %w", err)
	}
	want, err := agree(trial, k.public)
	if err != nil {
		return err
	}
	secret, err := newSecret()
	if err != nil {
		return err
	}
	defer freeSecret(secret)
	if err := t.mod.native.ecdh(s, k.first, [65]byte(trial.PublicKey().Bytes()), secret); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(secret, want) != 1 {
		return fmt.Errorf("%w: the public and private keys labelled %q do not belong together", ErrKeyUnfit, r.Label())
	}
	return nil
}

// agree is ECDH in memory.
func agree(own *ecdh.PrivateKey, peer *ecdsa.PublicKey) ([]byte, error) {
	p, err := peer.ECDH()
	if err != nil {
		return nil, fmt.Errorf("reading a public key: %w", err)
	}
	return own.ECDH(p)
}
