// Package keyref names keys that live in the HSM; it never holds key bytes.
//
// A key is named by a [Ref]: the realm whose masters it belongs to (empty for
// the service's own keys), what it is for, and its version. A [Path] adds the
// diversification factors that lead from a master to one card's or one slot's
// key. The [Spec] of a usage fixes the attributes an object must bear.
package keyref

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Usage says what a key is for, and so which attributes its object bears.
type Usage string

// Card masters of a realm (class 1). Each only derives.
const (
	PurchaseMaster    Usage = "mpk"  // MPK: purchase, cash, composite purchase
	LoadMaster        Usage = "mlk"  // MLK: load
	TACMaster         Usage = "mtk"  // MTK: TAC, diversified at least once
	UnloadMaster      Usage = "mulk" // MULK: unload
	OverdraftMaster   Usage = "muk"  // MUK: overdraft-limit update
	MaintenanceMaster Usage = "mamk" // MAMK: application maintenance

	// SlotPurchaseMaster and SlotTACMaster (MPK-S, MTK-S) are used at exactly
	// three levels: issuer, token ASN, use descriptor.
	SlotPurchaseMaster Usage = "mpk-s"
	SlotTACMaster      Usage = "mtk-s"

	// FoldedTAC is a TAC key that was folded (left xor right) at its birth. It
	// serves realms without diversification, whose key is one card's own.
	FoldedTAC Usage = "dtk"
	// RetailTAC is a 16-byte TAC key used unfolded, by retail MAC (ISO 9797-1
	// algorithm 3), in realms without diversification.
	RetailTAC Usage = "dtk-retail"
)

// Keys of cards that compute SM4: the masters, and the TAC key of one card for
// realms without diversification. See [Usage.SM4].
const (
	PurchaseMasterSM4  Usage = "mpk-sm4"
	LoadMasterSM4      Usage = "mlk-sm4"
	TACMasterSM4       Usage = "mtk-sm4"
	UnloadMasterSM4    Usage = "mulk-sm4"
	OverdraftMasterSM4 Usage = "muk-sm4"
	TACSM4             Usage = "dtk-sm4"

	// SM4Seal seals SM4 keys that are used in memory, because no mechanism of
	// the HSM computes with them: AES-256-GCM.
	SM4Seal Usage = "sm4-seal"
)

// The service's own keys (class 1).
const (
	PANSeal  Usage = "pan-seal"  // AES-256-GCM over card numbers
	RangeKEK Usage = "range-kek" // AES-256-GCM over the FF1 keys of token ranges
	PANIndex Usage = "pan-index" // HMAC-SHA256: finds a card by its number
	PARKey   Usage = "par"       // HMAC-SHA256: makes payment account references
	Script   Usage = "script"    // HMAC-SHA256: makes script keys (SCRK) of bundles
	CredSign Usage = "cred-sign" // ECDSA P-256: signs credentials (CRED)
	JWTSign  Usage = "jwt-sign"  // ECDSA P-256: signs access tokens

	Intake      Usage = "intake"       // ECDH P-256: opens card numbers sent to it
	ResultSign  Usage = "result-sign"  // ECDSA P-256: signs verdicts for an issuer's authorisation host
	WebhookSign Usage = "webhook-sign" // ECDSA P-256: signs the events sent to requestors

	PINSeal     Usage = "pin-seal"     // AES-256-GCM over the PIN-equivalent secrets of wallets
	PINVerify   Usage = "pin-verify"   // HMAC-SHA256: checks a PIN-equivalent secret
	DenySign    Usage = "deny-sign"    // ECDSA P-256: signs deny lists and terminal policies
	SyncIntake  Usage = "sync-intake"  // ECDH P-256: opens what a phone sealed about its taps
	OfficerSign Usage = "officer-sign" // ECDSA P-256: the key of one person of key ceremonies, on a token of their own
	AuditSign   Usage = "audit-sign"   // ECDSA P-256: signs transcripts of key ceremonies and checkpoints of the audit record
)

// EMV keys of an issuer (class 1), one set for each range of cards or tokens,
// which is the realm. Masters only derive; a card's keys are made from them.
const (
	ACMaster              Usage = "imk-ac"     // application cryptograms
	IntegrityMaster       Usage = "imk-smi"    // MACs of issuer scripts
	ConfidentialityMaster Usage = "imk-smc"    // encipherment of issuer scripts
	DynamicMaster         Usage = "imk-idn"    // ICC dynamic numbers
	CVC3Master            Usage = "cvc3"       // dynamic card verification codes
	ACMasterAES           Usage = "imk-ac-aes" // application cryptograms of AES cards
	CVK                   Usage = "cvk"        // static card verification values

	// DeviceMaster, UserMaster and LimitedUseMaster make the keys that go to
	// phones: for each transaction one that names the device and one that
	// names its user, or one for a span of time.
	DeviceMaster     Usage = "imk-md"
	UserMaster       Usage = "imk-umd"
	LimitedUseMaster Usage = "imk-luk"

	// SessionKey and SessionKeyAES are one transaction's own key. They are
	// imported for the time of a computation and are never masters.
	SessionKey    Usage = "emv-sk"
	SessionKeyAES Usage = "emv-sk-aes"
)

// Type is the kind of key an object holds.
type Type uint8

// Key types. The zero value is no type.
const (
	_      Type = iota
	DES3        // CKK_DES3, 24 bytes L‖R‖L
	AES256      // CKK_AES, 32 bytes
	HMAC        // CKK_GENERIC_SECRET, 32 bytes
	ECP256      // CKK_EC on P-256, private half
	AES         // CKK_AES, 16, 24 or 32 bytes
	SM4         // 16 bytes; of a vendor's key type, or in memory
)

// Role is the single usage an object may bear.
type Role uint8

// Roles, each one CKA_ attribute. The zero value is no role.
const (
	_       Role = iota
	Derive       // CKA_DERIVE
	Encrypt      // CKA_ENCRYPT
	Decrypt      // CKA_DECRYPT
	Sign         // CKA_SIGN
)

// Spec fixes what the object, or the two objects, of a usage must look like.
//
// A key that must both seal and open is two objects of equal value, one usage
// each: the first bears Role and the label of [Ref.Label], the second bears
// Second and the label of [Ref.SecondLabel]. Of a DES3 key that enciphers with
// both, such as [RetailTAC] and [CVK], the first is the whole key and the second
// its left half, thrice.
type Spec struct {
	Type   Type
	Role   Role
	Second Role // 0: one object only
	Realm  bool // belongs to a realm, so its Ref carries one
	EMV    bool // used along a [Chain], and not along a [Path]
}

var specs = map[Usage]Spec{
	PurchaseMaster:     {Type: DES3, Role: Derive, Realm: true},
	LoadMaster:         {Type: DES3, Role: Derive, Realm: true},
	TACMaster:          {Type: DES3, Role: Derive, Realm: true},
	UnloadMaster:       {Type: DES3, Role: Derive, Realm: true},
	OverdraftMaster:    {Type: DES3, Role: Derive, Realm: true},
	MaintenanceMaster:  {Type: DES3, Role: Derive, Realm: true},
	SlotPurchaseMaster: {Type: DES3, Role: Derive, Realm: true},
	SlotTACMaster:      {Type: DES3, Role: Derive, Realm: true},
	FoldedTAC:          {Type: DES3, Role: Encrypt, Realm: true},
	RetailTAC:          {Type: DES3, Role: Encrypt, Second: Encrypt, Realm: true},
	PurchaseMasterSM4:  {Type: SM4, Role: Derive, Realm: true},
	LoadMasterSM4:      {Type: SM4, Role: Derive, Realm: true},
	TACMasterSM4:       {Type: SM4, Role: Derive, Realm: true},
	UnloadMasterSM4:    {Type: SM4, Role: Derive, Realm: true},
	OverdraftMasterSM4: {Type: SM4, Role: Derive, Realm: true},
	TACSM4:             {Type: SM4, Role: Encrypt, Realm: true},
	SM4Seal:            {Type: AES256, Role: Encrypt, Second: Decrypt},
	PANSeal:            {Type: AES256, Role: Encrypt, Second: Decrypt},
	RangeKEK:           {Type: AES256, Role: Encrypt, Second: Decrypt},
	PANIndex:           {Type: HMAC, Role: Sign},
	PARKey:             {Type: HMAC, Role: Sign},
	Script:             {Type: HMAC, Role: Sign},
	CredSign:           {Type: ECP256, Role: Sign},
	JWTSign:            {Type: ECP256, Role: Sign},
	Intake:             {Type: ECP256, Role: Derive},
	ResultSign:         {Type: ECP256, Role: Sign},
	WebhookSign:        {Type: ECP256, Role: Sign},
	PINSeal:            {Type: AES256, Role: Encrypt, Second: Decrypt},
	PINVerify:          {Type: HMAC, Role: Sign},
	DenySign:           {Type: ECP256, Role: Sign},
	SyncIntake:         {Type: ECP256, Role: Derive},
	AuditSign:          {Type: ECP256, Role: Sign},
	OfficerSign:        {Type: ECP256, Role: Sign},

	ACMaster:              {Type: DES3, Role: Derive, Realm: true, EMV: true},
	IntegrityMaster:       {Type: DES3, Role: Derive, Realm: true, EMV: true},
	ConfidentialityMaster: {Type: DES3, Role: Derive, Realm: true, EMV: true},
	DynamicMaster:         {Type: DES3, Role: Derive, Realm: true, EMV: true},
	CVC3Master:            {Type: DES3, Role: Derive, Realm: true, EMV: true},
	DeviceMaster:          {Type: DES3, Role: Derive, Realm: true, EMV: true},
	UserMaster:            {Type: DES3, Role: Derive, Realm: true, EMV: true},
	LimitedUseMaster:      {Type: DES3, Role: Derive, Realm: true, EMV: true},
	ACMasterAES:           {Type: AES, Role: Derive, Realm: true, EMV: true},
	CVK:                   {Type: DES3, Role: Encrypt, Second: Encrypt, Realm: true, EMV: true},
	SessionKey:            {Type: DES3, Role: Encrypt, Second: Encrypt, Realm: true, EMV: true},
	SessionKeyAES:         {Type: AES, Role: Sign, Realm: true, EMV: true},
}

// Usages lists every usage that this build knows, sorted.
func Usages() []Usage { return slices.Sorted(maps.Keys(specs)) }

// Spec returns what the objects of u must look like; ok is false for a usage
// that this build does not know.
func (u Usage) Spec() (s Spec, ok bool) { s, ok = specs[u]; return }

// Master reports whether the objects of s are masters, from which keys of cards
// or slots are derived. An EC key that derives is none: what it derives are
// secrets shared with others.
func (s Spec) Master() bool {
	return (s.Type == DES3 || s.Type == AES || s.Type == SM4) && s.Role == Derive
}

var sm4Usages = map[Usage]Usage{PurchaseMaster: PurchaseMasterSM4, LoadMaster: LoadMasterSM4, TACMaster: TACMasterSM4,
	UnloadMaster: UnloadMasterSM4, OverdraftMaster: OverdraftMasterSM4, FoldedTAC: TACSM4, RetailTAC: TACSM4}

// SM4 returns what does for cards that compute SM4 what u does for others; ok is
// false when nothing does.
func (u Usage) SM4() (sm4 Usage, ok bool) { sm4, ok = sm4Usages[u]; return }

// Steps returns what p enciphers at each level under an SM4 key, whose block is
// a key: the factor and its complement.
func (p Path) Steps() (steps [][]byte) {
	for _, f := range p.Factors[:p.Levels] {
		steps = append(steps, f.Block())
	}
	return steps
}

// Block returns f and its complement.
func (f Factor) Block() []byte {
	b := append(make([]byte, 0, 16), f[:]...)
	for _, x := range f {
		b = append(b, ^x)
	}
	return b
}

// CheckSM4 reports whether p can lead to a key that makes process keys, or else
// one that makes TACs.
func (p Path) CheckSM4(process bool) error {
	fits := p.Levels <= MaxLevels
	switch p.Key.Usage {
	case PurchaseMasterSM4, LoadMasterSM4, UnloadMasterSM4, OverdraftMasterSM4:
		fits = fits && process
	case TACMasterSM4:
		fits = fits && !process && p.Levels > 0
	case TACSM4:
		fits = !process && p.Levels == 0
	default:
		fits = false
	}
	if !fits {
		return fmt.Errorf("%w: %v: no such use at %d levels", ErrMalformed, p.Key, p.Levels)
	}
	return nil
}

// Slot reports whether u is a slot master, which is used at exactly three levels.
func (u Usage) Slot() bool { return u == SlotPurchaseMaster || u == SlotTACMaster }

// ErrMalformed reports a reference or label that does not name a key.
var ErrMalformed = errors.New("keyref: malformed key reference")

// Ref names one version of one key.
type Ref struct {
	Realm   string // scheme the masters belong to; empty for the service's own keys
	Usage   Usage
	Version uint8 // from 1
}

var realmName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Valid reports whether r names a key that can exist.
func (r Ref) Valid() bool {
	s, ok := r.Usage.Spec()
	if !ok || r.Version == 0 {
		return false
	}
	if !s.Realm {
		return r.Realm == ""
	}
	return realmName.MatchString(r.Realm)
}

// Label is the CKA_LABEL of the first object: "realm.usage.vN", or "usage.vN".
func (r Ref) Label() string {
	l := string(r.Usage) + ".v" + strconv.Itoa(int(r.Version))
	if r.Realm != "" {
		l = r.Realm + "." + l
	}
	return l
}

// SecondLabel is the CKA_LABEL of the second object of a paired usage.
func (r Ref) SecondLabel() string { return r.Label() + ".2" }

// String is the label: a Ref is safe to log.
func (r Ref) String() string { return r.Label() }

// Parse is the inverse of [Ref.Label].
func Parse(label string) (Ref, error) {
	parts := strings.Split(label, ".")
	var r Ref
	if len(parts) == 3 {
		r.Realm, parts = parts[0], parts[1:]
	}
	if len(parts) != 2 || !strings.HasPrefix(parts[1], "v") {
		return Ref{}, fmt.Errorf("%w: %q", ErrMalformed, label)
	}
	n, err := strconv.ParseUint(parts[1][1:], 10, 8)
	r.Usage, r.Version = Usage(parts[0]), uint8(n)
	if err != nil || !r.Valid() || r.Label() != label {
		return Ref{}, fmt.Errorf("%w: %q", ErrMalformed, label)
	}
	return r, nil
}

// Factor is one diversification input, 8 bytes.
type Factor [8]byte

// MaxLevels is how deep a master may be diversified.
const MaxLevels = 3

// Path leads from a stored key through up to [MaxLevels] diversifications,
// root first. It is comparable, so it can be a map key.
type Path struct {
	Key     Ref
	Levels  uint8
	Factors [MaxLevels]Factor
}

// Path returns the path from r through the given factors, root first.
func (r Ref) Path(factors ...Factor) (Path, error) {
	if len(factors) > MaxLevels {
		return Path{}, fmt.Errorf("%w: %v: %d levels, at most %d", ErrMalformed, r, len(factors), MaxLevels)
	}
	p := Path{Key: r, Levels: uint8(len(factors))}
	copy(p.Factors[:], factors)
	return p, nil
}

// Append returns p one level deeper.
func (p Path) Append(f Factor) (Path, error) {
	if p.Levels >= MaxLevels {
		return Path{}, fmt.Errorf("%w: %v: more than %d levels", ErrMalformed, p.Key, MaxLevels)
	}
	p.Factors[p.Levels] = f
	p.Levels++
	return p, nil
}

// CheckValue is the left three bytes of a zero block enciphered under a key.
type CheckValue [3]byte

// String prints the check value in upper-case hex.
func (c CheckValue) String() string { return fmt.Sprintf("%X", c[:]) }

// Info describes a stored key for inventories; it holds nothing secret.
type Info struct {
	Ref   Ref
	Spec  Spec
	Local bool        // generated inside the HSM, not imported
	Check *CheckValue // nil where no check value can be computed without showing more
	State string      // ACTIVE unless a ceremony says otherwise
	// Software says that the key is computed with in the memory of the service:
	// the HSM only seals it.
	Software bool

	Ceremony   string // that gave birth to it; empty: none that is known
	Transcript string // digest of that ceremony's transcript
	Flag       string // what is wrong with the key's papers; empty: nothing

	// Tokens are the names of those that hold it, where there are several.
	Tokens []string
}
