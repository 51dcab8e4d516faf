package engine

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// keyOf is the script's key of a label.
func (r *run) keyOf(label string) script.Key {
	for _, k := range r.Plan.Script.Keys {
		if k.Label == label {
			return k
		}
	}
	return script.Key{}
}

// partLength is how many bytes a component or share has.
func (r *run) partLength(key string) int {
	switch key {
	case script.KBPKName:
		return r.Plan.Script.KBPK.Bits / 8
	case script.BackupName:
		return 1 + backupKeyLen
	}
	return r.keyOf(key).Length()
}

// partCheck is the check value of a component or share: of Triple DES an
// enciphered zero block, of AES the CMAC of one, of an HMAC key the left of the
// HMAC of a constant. A share's is that of its value as an AES key.
func (r *run) partCheck(key string, b []byte) (string, error) {
	a := keyblock.AES
	switch key {
	case script.KBPKName:
		if r.Plan.Script.KBPK.Algorithm == "tdes" {
			a = keyblock.TDES
		}
	case script.BackupName:
		b = b[1:]
	default:
		return keyCheck(r.keyOf(key).Ref(), b)
	}
	c, err := keyblock.Check(a, b)
	return c.String(), err
}

// keyCheck is the check value of a key, or of a component of it.
func keyCheck(ref keyref.Ref, b []byte) (string, error) {
	spec, _ := ref.Usage.Spec()
	switch spec.Type {
	case keyref.DES3:
		c, err := keyblock.Check(keyblock.TDES, b)
		return c.String(), err
	case keyref.AES, keyref.AES256:
		c, err := keyblock.Check(keyblock.AES, b)
		return c.String(), err
	}
	return fmt.Sprintf("%X", hmacCheck(b)), nil
}

func hmacCheck(b []byte) []byte {
	m := hmac.New(sha256.New, b)
	m.Write([]byte("tapvault key check value"))
	return m.Sum(nil)[:3]
}

// expected is the check value that the token has to show for a value.
func expected(ref keyref.Ref, b []byte) (c keyref.CheckValue, err error) {
	spec, _ := ref.Usage.Spec()
	var out []byte
	switch {
	case ref.Usage == keyref.FoldedTAC:
		fold := make([]byte, 16)
		defer clear(fold)
		for i := range fold {
			fold[i] = b[i%8] ^ b[8+i%8]
		}
		v, err := keyblock.Check(keyblock.TDES, fold)
		return keyref.CheckValue(v.Bytes()), err
	case spec.Type == keyref.DES3:
		v, err := keyblock.Check(keyblock.TDES, b)
		return keyref.CheckValue(v.Bytes()), err
	case spec.Type == keyref.AES:
		v, err := keyblock.LegacyCheck(b)
		return keyref.CheckValue(v.Bytes()), err
	case spec.Type == keyref.AES256:
		var block cipher.Block
		var gcm cipher.AEAD
		if block, err = aes.NewCipher(b); err == nil {
			gcm, err = cipher.NewGCM(block)
		}
		if err != nil {
			return c, err
		}
		out = gcm.Seal(nil, bytes.Repeat([]byte{0xff}, 12), nil, nil)
	default:
		out = hmacCheck(b)
	}
	return keyref.CheckValue(out[:3]), nil
}
