//go:build cgo

package hsm

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"fmt"
	"math/big"
	"slices"

	"github.com/miekg/pkcs11"
)

// refusals are what modules answer that take no key in clear.
var refusals = []pkcs11.Error{pkcs11.CKR_FUNCTION_NOT_SUPPORTED, pkcs11.CKR_ACTION_PROHIBITED, pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_TEMPLATE_INCONSISTENT}

// bring makes an object of a given value. A module that takes none in clear
// gets it enciphered to an RSA key of its own, which lives for this call.
func (t *Token) bring(s pkcs11.SessionHandle, value []byte, tpl []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	plain := append(slices.Clone(tpl), &pkcs11.Attribute{Type: pkcs11.CKA_VALUE, Value: value})
	h, err := t.mod.native.create(s, plain)
	if !slices.Contains(refusals, code(err)) {
		return h, err
	}
	h, unwrapErr := t.unwrapInto(s, value, tpl)
	if unwrapErr != nil {
		return 0, fmt.Errorf("%w (and wrapped: %w)", err, unwrapErr)
	}
	return h, nil
}

func (t *Token) unwrapInto(s pkcs11.SessionHandle, value []byte, tpl []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	public, private, err := t.mod.ctx.GenerateKeyPair(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
			pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, uint(minRSA)), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(rsaE).Bytes())},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
			pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false), pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, true), pkcs11.NewAttribute(pkcs11.CKA_SIGN, false), pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false)})
	if err != nil {
		return 0, err
	}
	defer t.destroy(s, []pkcs11.ObjectHandle{public, private})
	n, err := t.get(s, public, pkcs11.CKA_MODULUS)
	if err != nil {
		return 0, err
	}
	peer := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: rsaE}
	if err := fitRSA(peer); err != nil {
		return 0, err
	}
	wrapped, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, peer, value, nil)
	if err != nil {
		return 0, fmt.Errorf("enciphering a key for the token: %w", err)
	}
	if len(value) != 24 { // others than DES3 have no length of their own; SoftHSM then refuses, and says 0 without it
		tpl = append(slices.Clone(tpl), pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, uint(len(value))))
	}
	p := pkcs11.NewOAEPParams(pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1, pkcs11.CKZ_DATA_SPECIFIED, nil)
	return t.mod.ctx.UnwrapKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_OAEP, p)}, private, wrapped, tpl)
}
