//go:build cgo

package hsm

import (
	"encoding/binary"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// usageAttr is one CKA_ attribute that allows a use of a key.
type usageAttr struct {
	typ  uint
	name string
	role keyref.Role // the role that it stands for; 0: none that we use
}

var secretUsages = []usageAttr{
	{pkcs11.CKA_DERIVE, "derive", keyref.Derive}, {pkcs11.CKA_ENCRYPT, "encrypt", keyref.Encrypt},
	{pkcs11.CKA_DECRYPT, "decrypt", keyref.Decrypt}, {pkcs11.CKA_SIGN, "sign", keyref.Sign},
	{pkcs11.CKA_VERIFY, "verify", 0}, {pkcs11.CKA_WRAP, "wrap", 0}, {pkcs11.CKA_UNWRAP, "unwrap", 0},
}

var privateUsages = []usageAttr{
	{pkcs11.CKA_SIGN, "sign", keyref.Sign}, {pkcs11.CKA_DECRYPT, "decrypt", keyref.Decrypt},
	{pkcs11.CKA_DERIVE, "derive", keyref.Derive}, {pkcs11.CKA_SIGN_RECOVER, "sign-recover", 0},
	{pkcs11.CKA_UNWRAP, "unwrap", 0},
}

var publicUsages = []usageAttr{
	{pkcs11.CKA_ENCRYPT, "encrypt", 0}, {pkcs11.CKA_VERIFY, "verify", keyref.Sign},
	{pkcs11.CKA_VERIFY_RECOVER, "verify-recover", 0}, {pkcs11.CKA_WRAP, "wrap", 0}, {pkcs11.CKA_DERIVE, "derive", 0},
}

// kindOf is what PKCS #11 calls a type of key.
type kindOf struct {
	class, key uint
	name       string
	len        uint // CKA_VALUE_LEN; 0: the type says it
	usages     []usageAttr
}

var kinds = map[keyref.Type]kindOf{
	keyref.DES3:   {pkcs11.CKO_SECRET_KEY, pkcs11.CKK_DES3, "a DES3 secret key", 0, secretUsages},
	keyref.AES256: {pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES, "an AES secret key", 32, secretUsages},
	keyref.HMAC:   {pkcs11.CKO_SECRET_KEY, pkcs11.CKK_GENERIC_SECRET, "a generic secret key", 32, secretUsages},
	keyref.AES:    {pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES, "an AES secret key", 0, secretUsages},
	keyref.SM4:    {pkcs11.CKO_SECRET_KEY, 0, "an SM4 secret key", 0, secretUsages}, // its number is the vendor's: see kind
	keyref.ECP256: {pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC, "an EC private key", 0, privateUsages},
}

// p256 is the DER of the curve's name, as CKA_EC_PARAMS holds it.
var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// template is every attribute of a new object with one role. All usages are
// written, because a module may take an omitted one for true.
//
// Objects cannot be modified later, except DES3: their session copies could
// not be made from an object that cannot be modified.
func template(typ keyref.Type, role keyref.Role, label string, token bool) []*pkcs11.Attribute {
	k := kinds[typ]
	t := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, k.class),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, k.key),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}
	return append(t, traits(typ, role, label, token)...)
}

// traits is what a copy may differ in from its original. The rest it inherits,
// and modules refuse to hear it again.
func traits(typ keyref.Type, role keyref.Role, label string, token bool) []*pkcs11.Attribute {
	t := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, token)}
	if label != "" {
		// The ID first: what has a label then has its ID as well, see Token.Bears.
		t = append(t, pkcs11.NewAttribute(pkcs11.CKA_ID, label), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	}
	t = append(t, uses(kinds[typ].usages, role)...)
	// Last: SoftHSM writes a copy's attributes in order, and refuses those
	// that follow this one.
	return append(t, pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, typ == keyref.DES3 || !token))
}

func uses(us []usageAttr, role keyref.Role) (t []*pkcs11.Attribute) {
	for _, u := range us {
		t = append(t, pkcs11.NewAttribute(u.typ, u.role == role && role != 0))
	}
	return t
}

// publicTemplate is the public half of an EC pair whose private half has a role.
func publicTemplate(label string, role keyref.Role) []*pkcs11.Attribute {
	t := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, label),
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256),
	}
	return append(t, uses(publicUsages, role)...)
}

// ulong reads a CK_ULONG, which is in the machine's own order.
func ulong(b []byte) (uint, error) {
	if len(b) != 8 {
		return 0, odd{fmt.Sprintf("a number has %d bytes", len(b))}
	}
	return uint(binary.NativeEndian.Uint64(b)), nil
}
