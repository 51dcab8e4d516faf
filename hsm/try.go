//go:build cgo

package hsm

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// try uses a key once, as it will be used, and fails when the answer cannot be
// right: two halves that do not belong together, say.
func (t *Token) try(s pkcs11.SessionHandle, r keyref.Ref, k *key) error {
	switch {
	case k.spec.Type == keyref.AES256:
		return t.trySeal(s, r, k)
	case k.spec.Type == keyref.SM4:
		return t.trySM4(s, k)
	case k.spec.Type == keyref.AES && k.spec.Role == keyref.Sign:
		_, err := t.sign(s, pkcs11.CKM_AES_CMAC, k.first, []byte("trial"))
		return err
	case k.spec.Type == keyref.HMAC:
		_, err := t.sign(s, pkcs11.CKM_SHA256_HMAC, k.first, []byte("trial"))
		return err
	case k.spec.Type == keyref.ECP256 && k.spec.Role == keyref.Derive:
		return t.tryECDH(s, r, k)
	case k.spec.Type == keyref.ECP256:
		return t.trySign(s, r, k)
	case k.spec.Master():
		print, err := t.fingerprint(s, k)
		k.print = print
		return err
	}
	_, err := t.encipher(s, k.first, [8]byte{})
	return err
}

func (t *Token) trySeal(s pkcs11.SessionHandle, r keyref.Ref, k *key) error {
	iv, err := t.mod.ctx.GenerateRandom(s, ivLen)
	if err != nil {
		return err
	}
	text := []byte("trial")
	sealed, err := t.gcmSeal(s, k.first, iv, text, nil)
	if err != nil {
		return err
	}
	back, err := t.gcmOpen(s, k.second, iv, sealed, nil)
	if lost(err) || ofModule(err) { // says nothing about the keys
		return err
	}
	if err != nil || subtle.ConstantTimeCompare(back, text) != 1 {
		return fmt.Errorf("%w: what %q seals, %q does not open: they are not one key", ErrKeyUnfit, r.Label(), r.SecondLabel())
	}
	return nil
}

func (t *Token) trySign(s pkcs11.SessionHandle, r keyref.Ref, k *key) error {
	digest := sha256.Sum256([]byte("trial"))
	sig, err := t.sign(s, pkcs11.CKM_ECDSA, k.first, digest[:])
	if err != nil {
		return err
	}
	half := len(sig) / 2
	if !ecdsa.Verify(k.public, digest[:], new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])) {
		return fmt.Errorf("%w: the public and private keys labelled %q do not belong together", ErrKeyUnfit, r.Label())
	}
	return nil
}

// fingerprint enciphers a constant under a key derived from a master by a
// constant. Masters with equal fingerprints are equal; and unlike a check
// value it shows nothing about any key in use, and is not cut to 24 bits.
func (t *Token) fingerprint(s pkcs11.SessionHandle, k *key) (print [8]byte, err error) {
	if k.spec.Type == keyref.AES {
		return t.fingerprintAES(s, k)
	}
	master := k.first
	st := diversify(keyref.Factor([]byte("tapvault")), kindEncrypts)
	child, err := t.mod.native.derive(s, master, st.data, template(keyref.DES3, keyref.Encrypt, "", false))
	if err != nil {
		return print, fmt.Errorf("deriving from it: %w", err)
	}
	print, err = t.encipher(s, child, [8]byte([]byte("equality")))
	if gone := t.mod.ctx.DestroyObject(s, child); err == nil {
		err = gone
	}
	return print, err
}

// fingerprintAES does the same for an AES master.
func (t *Token) fingerprintAES(s pkcs11.SessionHandle, k *key) (print [8]byte, err error) {
	h, done, err := t.derived(s, k, [][]byte{[]byte("tapvault tapvault tapvault equal")}, keyref.Sign)
	defer done()
	if err != nil {
		return print, err
	}
	b, err := t.sign(s, pkcs11.CKM_AES_CMAC, h, []byte("equality"))
	copy(print[:], b)
	return print, err
}

// encipher enciphers one block under a DES3 key.
func (t *Token) encipher(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, in [8]byte) (out [8]byte, err error) {
	if err := t.mod.ctx.EncryptInit(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_DES3_ECB, nil)}, h); err != nil {
		return out, fmt.Errorf("enciphering: %w", err)
	}
	b, err := t.mod.native.encrypt(s, in[:], len(in))
	if err == nil && len(b) != len(out) {
		err = odd{oddLength}
	}
	if err != nil {
		return out, fmt.Errorf("enciphering: %w", err)
	}
	return [8]byte(b), nil
}

// sign signs or MACs data in one go.
func (t *Token) sign(s pkcs11.SessionHandle, mech uint, h pkcs11.ObjectHandle, data []byte) ([]byte, error) {
	b, err := t.mod.ctx.Sign(s, mech, h, data)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return b, nil
}
