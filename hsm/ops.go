//go:build cgo

package hsm

import (
	"context"
	"crypto/ecdsa"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

const (
	ivLen  = 12
	tagLen = 16
)

// errSealed reports data that was changed, cut, moved to another row, or
// sealed under another key.
var errSealed = errors.New("the sealed data is not what was sealed here")

// Seal enciphers plaintext by AES-256-GCM under a fresh IV and returns iv ‖
// ciphertext ‖ tag. aad binds it to its place and is not stored.
func (t *Token) Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) (sealed []byte, err error) {
	err = t.withKey(ctx, "sealing under", ref, keyref.AES256, func(s pkcs11.SessionHandle, k *key) error {
		iv, err := t.mod.ctx.GenerateRandom(s, ivLen)
		if err != nil {
			return err
		}
		ct, err := t.gcmSeal(s, k.first, iv, plaintext, aad)
		sealed = append(iv, ct...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sealed, nil
}

// Unseal is the inverse of [Token.Seal]. The caller wipes the plaintext.
func (t *Token) Unseal(ctx context.Context, ref keyref.Ref, sealed, aad []byte) (plain []byte, err error) {
	if len(sealed) < ivLen+tagLen {
		return nil, fmt.Errorf("unsealing under %v: %w", ref, errSealed)
	}
	for range 2 {
		err = t.withKey(ctx, "unsealing under", ref, keyref.AES256, func(s pkcs11.SessionHandle, k *key) error {
			plain, err = t.gcmOpen(s, k.second, sealed[:ivLen], sealed[ivLen:], aad)
			return err
		})
		if err == nil {
			return plain, nil
		}
		if !errors.Is(err, errSealed) {
			return nil, err
		}
		if err := t.opensAnything(ctx, ref); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// opensAnything tells a module that fails from data that was changed: both
// may be answered by one code. It seals and opens in a session of its own.
func (t *Token) opensAnything(ctx context.Context, ref keyref.Ref) error {
	err := t.withKey(ctx, "unsealing under", ref, keyref.AES256, func(s pkcs11.SessionHandle, k *key) error {
		return t.trySeal(s, ref, k)
	})
	if errors.Is(err, ErrKeyUnfit) { // they were one key when they were made ready
		return fmt.Errorf("unsealing under %v: %w: it opens nothing now", ref, ErrUnavailable)
	}
	return err
}

func (t *Token) gcmSeal(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, iv, plain, aad []byte) ([]byte, error) {
	p := pkcs11.NewGCMParams(iv, aad, tagLen*8)
	defer p.Free()
	if err := t.mod.ctx.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, p)}, h); err != nil {
		return nil, err
	}
	ct, err := t.mod.native.encrypt(s, plain, len(plain)+tagLen)
	if err != nil {
		return nil, err
	}
	if len(ct) != len(plain)+tagLen {
		return nil, odd{oddLength}
	}
	if subtle.ConstantTimeCompare(p.IV(), iv) != 1 {
		return nil, odd{"it seals under an IV of its own, and not under that which it was given"}
	}
	return ct, nil
}

func (t *Token) gcmOpen(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, iv, sealed, aad []byte) ([]byte, error) {
	p := pkcs11.NewGCMParams(iv, aad, tagLen*8)
	defer p.Free()
	if err := t.mod.ctx.DecryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, p)}, h); err != nil {
		return nil, err
	}
	plain, err := t.mod.native.decrypt(s, sealed, len(sealed))
	if err == nil && len(plain) != len(sealed)-tagLen {
		clear(plain)
		err = odd{oddLength}
	}
	if errors.As(err, new(odd)) {
		return nil, err
	}
	switch code(err) {
	case pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE, pkcs11.CKR_GENERAL_ERROR,
		pkcs11.CKR_SIGNATURE_INVALID, pkcs11.CKR_FUNCTION_FAILED:
		return nil, errSealed // modules answer a bad tag in all these ways
	}
	return plain, err
}

// HMAC returns the HMAC-SHA256 of msg.
func (t *Token) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) (mac [32]byte, err error) {
	if len(msg) == 0 {
		return mac, fmt.Errorf("computing with %v: %w: an empty message", ref, keyref.ErrMalformed)
	}
	err = t.withKey(ctx, "computing with", ref, keyref.HMAC, func(s pkcs11.SessionHandle, k *key) error {
		b, err := t.sign(s, pkcs11.CKM_SHA256_HMAC, k.first, msg)
		copy(mac[:], b)
		return err
	})
	return mac, err
}

// Sign signs a SHA-256 digest by ECDSA and returns r ‖ s.
func (t *Token) Sign(ctx context.Context, ref keyref.Ref, digest [32]byte) (sig [64]byte, err error) {
	err = t.withKey(ctx, "signing with", ref, keyref.ECP256, func(s pkcs11.SessionHandle, k *key) error {
		if k.spec.Role != keyref.Sign {
			return ErrKeyUnfit
		}
		b, err := t.sign(s, pkcs11.CKM_ECDSA, k.first, digest[:])
		copy(sig[:], b)
		return err
	})
	return sig, err
}

// PublicKey returns the public half of an EC key.
func (t *Token) PublicKey(ctx context.Context, ref keyref.Ref) (*ecdsa.PublicKey, error) {
	k, err := t.state.Load().key(ref)
	switch {
	case err != nil:
		return nil, err
	case k.public == nil:
		return nil, fmt.Errorf("reading the public key of %v: %w", ref, ErrKeyUnfit)
	}
	pub := *k.public
	return &pub, ctx.Err()
}

// Random fills b from the token's generator.
func (t *Token) Random(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return ctx.Err()
	}
	return t.with(ctx, "asking for random bytes", func(s pkcs11.SessionHandle, st *state) error {
		info, err := t.mod.ctx.GetSessionInfo(s)
		if err != nil {
			return err
		}
		if info.State != pkcs11.CKS_RW_USER_FUNCTIONS { // random bytes need no login, their callers do
			return pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
		}
		r, err := t.mod.ctx.GenerateRandom(s, len(b))
		copy(b, r)
		return err
	})
}
