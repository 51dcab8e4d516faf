package keyref

import (
	"maps"
	"slices"
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

// Slot reports whether u is a slot master, which is used at exactly three levels.
func (u Usage) Slot() bool { return u == SlotPurchaseMaster || u == SlotTACMaster }
