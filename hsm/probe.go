//go:build cgo

package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// mechanism is what a module has to be able to do for a type of key.
type mechanism struct {
	typ   uint
	name  string
	flags uint
}

var mechanisms = map[keyref.Type][]mechanism{
	keyref.DES3: {
		{pkcs11.CKM_DES3_ECB_ENCRYPT_DATA, "CKM_DES3_ECB_ENCRYPT_DATA", pkcs11.CKF_DERIVE},
		{pkcs11.CKM_DES3_CBC, "CKM_DES3_CBC", pkcs11.CKF_ENCRYPT},
		{pkcs11.CKM_DES3_ECB, "CKM_DES3_ECB", pkcs11.CKF_ENCRYPT},
	},
	keyref.AES256: {{pkcs11.CKM_AES_GCM, "CKM_AES_GCM", pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT}},
	keyref.AES: {
		{pkcs11.CKM_AES_ECB_ENCRYPT_DATA, "CKM_AES_ECB_ENCRYPT_DATA", pkcs11.CKF_DERIVE},
		{pkcs11.CKM_AES_CMAC, "CKM_AES_CMAC", pkcs11.CKF_SIGN},
	},
	keyref.HMAC:   {{pkcs11.CKM_SHA256_HMAC, "CKM_SHA256_HMAC", pkcs11.CKF_SIGN}},
	keyref.ECP256: {{pkcs11.CKM_ECDSA, "CKM_ECDSA", pkcs11.CKF_SIGN}},
}

// ecdhMechanism takes the place of signing for an EC key that derives.
var ecdhMechanism = mechanism{pkcs11.CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE", pkcs11.CKF_DERIVE}

// births are the mechanisms by which a key of a type is made inside.
var births = map[keyref.Type]mechanism{
	keyref.DES3:   {pkcs11.CKM_DES3_KEY_GEN, "CKM_DES3_KEY_GEN", pkcs11.CKF_GENERATE},
	keyref.AES256: {pkcs11.CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN", pkcs11.CKF_GENERATE},
	keyref.AES:    {pkcs11.CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN", pkcs11.CKF_GENERATE},
	keyref.HMAC:   {pkcs11.CKM_GENERIC_SECRET_KEY_GEN, "CKM_GENERIC_SECRET_KEY_GEN", pkcs11.CKF_GENERATE},
	keyref.ECP256: {pkcs11.CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", pkcs11.CKF_GENERATE_KEY_PAIR},
}

// probe asks the module for what keys of a usage need.
func (t *Token) probe(spec keyref.Spec) error {
	needs := mechanisms[spec.Type]
	if spec.Type == keyref.ECP256 && spec.Role == keyref.Derive {
		needs = []mechanism{ecdhMechanism}
	}
	for _, m := range needs {
		if err := t.probeOne(m); err != nil {
			return err
		}
	}
	return nil
}

func (t *Token) probeOne(m mechanism) error {
	info, err := t.mod.ctx.GetMechanismInfo(t.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(m.typ, nil)})
	if err != nil && code(err) != pkcs11.CKR_MECHANISM_INVALID {
		return fmt.Errorf("asking for %s: %w: %w", m.name, ErrUnavailable, err)
	}
	if err != nil || info.Flags&m.flags != m.flags {
		return fmt.Errorf("%w: the module %s lacks the mechanism %s on token %q", ErrUnavailable, t.cfg.Module, m.name, t.cfg.Token)
	}
	return nil
}
