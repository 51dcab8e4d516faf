//go:build cgo

package hsm

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Inventory lists the stored keys whose labels are key references, whether
// they were required or not, in the order of their labels. It shows no secret.
func (t *Token) Inventory(ctx context.Context) (list []keyref.Info, err error) {
	err = t.with(ctx, "listing the keys", func(s pkcs11.SessionHandle, st *state) error {
		list = nil
		return t.each(s, func(h pkcs11.ObjectHandle, label string, class uint) error {
			ref, err := keyref.Parse(label)
			if err != nil {
				return nil // see Strays
			}
			spec, _ := ref.Usage.Spec()
			info := keyref.Info{Ref: ref, Spec: spec, State: "ACTIVE"}
			if info.Local, err = t.local(s, h); err == nil {
				info.Check, err = t.checkValue(s, h, ref, spec)
			}
			if err = spoilt(label, err); errors.Is(err, ErrKeyUnfit) {
				info.Flag, err = "it cannot be used: its birth was cut off", nil
			}
			list = append(list, info)
			return err
		})
	})
	slices.SortFunc(list, func(a, b keyref.Info) int { return cmp.Compare(a.Ref.Label(), b.Ref.Label()) })
	return list, err
}

// Strays names the stored secret and private keys that no key reference
// explains. A process that is killed while a key is born can leave one.
func (t *Token) Strays(ctx context.Context) (names []string, err error) {
	err = t.with(ctx, "listing strays", func(s pkcs11.SessionHandle, st *state) error {
		names = nil
		return t.each(s, func(h pkcs11.ObjectHandle, label string, class uint) error {
			ref, err := keyref.Parse(string(bytes.TrimSuffix([]byte(label), []byte(".2"))))
			if err == nil && (label == ref.Label() || label == ref.SecondLabel() && hasSecond(ref)) {
				return nil
			}
			kind := "secret key"
			if class == pkcs11.CKO_PRIVATE_KEY {
				kind = "private key"
			}
			if label == "" {
				names = append(names, fmt.Sprintf("a %s without a label (handle %d)", kind, h))
			} else {
				names = append(names, fmt.Sprintf("a %s labelled %q", kind, label))
			}
			return nil
		})
	})
	slices.Sort(names)
	return names, err
}

func hasSecond(r keyref.Ref) bool { s, _ := r.Usage.Spec(); return s.Second != 0 }

// each calls fn for every stored secret and private key.
func (t *Token) each(s pkcs11.SessionHandle, fn func(h pkcs11.ObjectHandle, label string, class uint) error) error {
	for _, class := range []uint{pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY} {
		hs, err := t.find(s, 10000, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_CLASS, class))
		if err != nil {
			return err
		}
		for _, h := range hs {
			label, err := t.get(s, h, pkcs11.CKA_LABEL)
			if err != nil && code(err) != pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
				return err
			}
			if err := fn(h, string(label), class); err != nil {
				return err
			}
		}
	}
	return nil
}

// local reports whether the key was made inside: the token says so, or it was
// never otherwise than sensitive and not extractable, which an imported key
// cannot claim.
func (t *Token) local(s pkcs11.SessionHandle, h pkcs11.ObjectHandle) (bool, error) {
	made, err := t.flag(s, h, pkcs11.CKA_LOCAL)
	if made || err != nil {
		return made, err
	}
	always, err := t.flag(s, h, pkcs11.CKA_ALWAYS_SENSITIVE)
	if !always || err != nil {
		return false, err
	}
	return t.flag(s, h, pkcs11.CKA_NEVER_EXTRACTABLE)
}

// checkValue computes what identifies a key without showing anything about it.
//
//   - DES3: the left three bytes of an enciphered zero block, by the key's own
//     attribute or, where the module has none, by enciphering one or, of a key
//     that only derives, by deriving from one.
//   - AES-GCM keys: an enciphered zero block is the hash key of GCM, so it
//     stays inside. Instead: the left of the tag over nothing under the IV of
//     twelve FF, which [Token.Seal] draws with probability 2^-96.
//   - AES masters: the same, as PKCS #11 defines that attribute. X9.24 has
//     another value for AES.
//   - HMAC keys: the left of the HMAC of a constant.
//   - EC pairs: the left of the SHA-256 of the public point.
func (t *Token) checkValue(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, ref keyref.Ref, spec keyref.Spec) (*keyref.CheckValue, error) {
	var b []byte
	var err error
	switch spec.Type {
	case keyref.SM4:
		if b, err = t.get(s, h, pkcs11.CKA_CHECK_VALUE); code(err) == pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
			return nil, nil
		}
	case keyref.DES3, keyref.AES:
		if b, err = t.get(s, h, pkcs11.CKA_CHECK_VALUE); len(b) != 3 {
			b, err = t.encipherZeros(s, h, spec)
		}
	case keyref.AES256:
		b, err = t.gcmSeal(s, h, bytes.Repeat([]byte{0xff}, ivLen), nil, nil)
	case keyref.HMAC:
		b, err = t.sign(s, pkcs11.CKM_SHA256_HMAC, h, []byte("tapvault key check value"))
	case keyref.ECP256:
		var pub *ecdsa.PublicKey
		if pub, err = t.publicKey(s, t.search(s), ref.Label()); errors.Is(err, ErrKeyMissing) {
			return nil, nil
		} else if err == nil {
			b, err = pub.Bytes()
		}
		sum := sha256.Sum256(b)
		b = sum[:]
	}
	if err != nil || len(b) < 3 {
		return nil, err
	}
	return (*keyref.CheckValue)(b[:3]), nil
}

// encipherZeros enciphers a block of zeros in the way that a key's role allows.
// One that allows neither has no check value.
func (t *Token) encipherZeros(s pkcs11.SessionHandle, h pkcs11.ObjectHandle, spec keyref.Spec) ([]byte, error) {
	mech, zeros := uint(pkcs11.CKM_DES3_ECB_ENCRYPT_DATA), make([]byte, 24)
	switch {
	case spec.Role == keyref.Encrypt:
		out, err := t.encipher(s, h, [8]byte{})
		return out[:], err
	case spec.Role != keyref.Derive:
		return nil, nil
	case spec.Type == keyref.AES:
		mech, zeros = pkcs11.CKM_AES_ECB_ENCRYPT_DATA, make([]byte, 32)
	}
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	defer freeSecret(secret)
	if err := t.mod.native.reveal(s, h, mech, zeros, secret); err != nil {
		return nil, err
	}
	return append([]byte{}, secret[:3]...), nil
}
