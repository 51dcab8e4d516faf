//go:build cgo

package hsm

import (
	"errors"
	"fmt"
	"strings"

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

// probe asks the module for what keys of a usage need. Session s is the caller's alone.
func (t *Token) probe(s pkcs11.SessionHandle, spec keyref.Spec) error {
	if spec.Type == keyref.SM4 && !t.cfg.SM4.Set() {
		return fmt.Errorf("%w: no mechanism for SM4 is configured for token %q", ErrUnavailable, t.cfg.Token)
	}
	for _, m := range t.needed(spec) {
		if err := t.has(s, spec.Type, m); err != nil {
			return err
		}
	}
	return nil
}

// needed are the mechanisms by which keys of spec are used: for SM4 none, unless its
// vendor's numbers are configured.
func (t *Token) needed(spec keyref.Spec) []mechanism {
	switch {
	case spec.Type == keyref.ECP256 && spec.Role == keyref.Derive:
		return []mechanism{ecdhMechanism}
	case spec.Type == keyref.SM4 && t.cfg.SM4.Set():
		return t.sm4Mechanisms()
	}
	return mechanisms[spec.Type]
}

// has fails when a mechanism for keys of a type is not there.
func (t *Token) has(s pkcs11.SessionHandle, typ keyref.Type, m mechanism) error {
	err := t.probeOne(m)
	if errors.As(err, new(lacks)) && m.flags == pkcs11.CKF_DERIVE && t.tries(s, typ, m) {
		return nil
	}
	return err
}

func (t *Token) tries(s pkcs11.SessionHandle, typ keyref.Type, m mechanism) bool {
	if typ == keyref.SM4 {
		return t.derivesSM4(s)
	}
	return t.derives(s, typ, m)
}

// derives tries a mechanism that the module does not list: NSS softokn knows
// derivations that it lists not. A module that knows one is not asked again.
func (t *Token) derives(s pkcs11.SessionHandle, typ keyref.Type, m mechanism) bool {
	if _, known := t.unlisted.Load(m.typ); known {
		return true
	}
	value := make([]byte, 24)
	for i := range value { // a key of no worth, which only has to be one
		value[i] = byte(3*i + 1)
	}
	tpl := template(typ, keyref.Derive, "", false)
	h, err := t.mod.native.create(s, append(tpl, &pkcs11.Attribute{Type: pkcs11.CKA_VALUE, Value: value}))
	if err != nil {
		return false
	}
	tpl = template(typ, keyref.Sign, "", false)
	if typ == keyref.AES {
		tpl = append(tpl, pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, uint(16)))
	}
	child, err := t.mod.native.deriveBy(s, h, m.typ, append(value, value[:8]...), tpl)
	if err != nil {
		child = 0
	}
	t.destroy(s, []pkcs11.ObjectHandle{h, child})
	if err == nil {
		t.unlisted.Store(m.typ, true)
	}
	return err == nil
}

// hasIt is what to do about a mechanism that is lacking.
const hasIt = "allow it in the HSM's configuration, or use a module that has it"

// purposes are what a mechanism may be for.
var purposes = []struct {
	flag uint
	name string
}{{pkcs11.CKF_ENCRYPT, "encrypt"}, {pkcs11.CKF_DECRYPT, "decrypt"}, {pkcs11.CKF_SIGN, "sign"}, {pkcs11.CKF_DERIVE, "derive"},
	{pkcs11.CKF_WRAP, "wrap"}, {pkcs11.CKF_GENERATE, "generate keys"}, {pkcs11.CKF_GENERATE_KEY_PAIR, "generate key pairs"}}

// purpose names flags of a mechanism.
func purpose(flags uint) string {
	var names []string
	for _, p := range purposes {
		if flags&p.flag != 0 {
			names = append(names, p.name)
		}
	}
	return strings.Join(names, " and ")
}

func (t *Token) probeOne(m mechanism) error {
	info, err := t.mod.ctx.GetMechanismInfo(uint(t.slot.Load()), []*pkcs11.Mechanism{pkcs11.NewMechanism(m.typ, nil)})
	if err != nil && code(err) != pkcs11.CKR_MECHANISM_INVALID {
		return fmt.Errorf("asking for %s: %w: %w", m.name, ErrUnavailable, err)
	}
	switch {
	case err != nil:
		return lacks{fmt.Errorf("%w: the module %s lacks the mechanism %s on token %q: "+hasIt, ErrUnavailable, t.cfg.Module, m.name, t.cfg.Token), m.name}
	case info.Flags&m.flags != m.flags:
		return lacks{fmt.Errorf("%w: the module %s has the mechanism %s on token %q, but not to %s: "+hasIt, ErrUnavailable, t.cfg.Module, m.name,
			t.cfg.Token, purpose(m.flags&^info.Flags)), m.name}
	}
	return nil
}
