package wire

import "time"

// TokenRequest is the body of POST /v1/tokens. The card is named by pan and
// pan_expiry, or by pan_jwe.
type TokenRequest struct {
	PAN        Digits     `json:"pan,omitzero"`                 // 12 to 19 digits, check digit included
	PANExpiry  string     `json:"pan_expiry,omitempty"`         // YYMM, as the card prints it
	PANSealed  string     `json:"pan_jwe,omitempty"`            // both as a compact JWE to the intake key
	PSN        string     `json:"psn,omitempty"`                // PAN sequence number, 2 digits
	Requestor  string     `json:"token_requestor_id,omitempty"` // 11 digits; absent: the caller's own
	Location   string     `json:"token_location"`               // EMVCo code 00 to 07; 03 is a phone's host memory
	FormFactor string     `json:"form_factor,omitempty"`        // phone, ble-card, band, watch, key-fob, card-on-file
	Device     string     `json:"device_id,omitempty"`          // the requestor's name for the device
	Day        string     `json:"service_day,omitempty"`        // YYYY-MM-DD; absent: today
	Lifetime   uint32     `json:"lifetime_sec,omitempty"`       // 0: to the end of the service day
	Assurance  *Assurance `json:"token_assurance,omitempty"`
	Controls   *Controls  `json:"domain_controls,omitempty"`
}

var tokenRequest = table[TokenRequest]{
	{"pan", may, func(d *decoder, v *TokenRequest) *FieldError { return cardNumber(d, &v.PAN) }},
	{"pan_expiry", may, func(d *decoder, v *TokenRequest) *FieldError { return digitText(d, &v.PANExpiry, 4, 4) }},
	{"pan_jwe", may, func(d *decoder, v *TokenRequest) *FieldError { return sealed(d, &v.PANSealed) }},
	{"psn", may, func(d *decoder, v *TokenRequest) *FieldError { return digitText(d, &v.PSN, 2, 2) }},
	{"token_requestor_id", may, func(d *decoder, v *TokenRequest) *FieldError { return digitText(d, &v.Requestor, 11, 11) }},
	{"token_location", must, func(d *decoder, v *TokenRequest) *FieldError { return digitText(d, &v.Location, 2, 2) }},
	{"form_factor", may, func(d *decoder, v *TokenRequest) *FieldError { return choice(d, &v.FormFactor, formFactors...) }},
	{"device_id", may, func(d *decoder, v *TokenRequest) *FieldError { return deviceID(d, &v.Device) }},
	{"service_day", may, func(d *decoder, v *TokenRequest) *FieldError { return civil(d, &v.Day) }},
	{"lifetime_sec", may, func(d *decoder, v *TokenRequest) *FieldError { return unsigned(d, &v.Lifetime) }},
	{"token_assurance", may, func(d *decoder, v *TokenRequest) *FieldError {
		v.Assurance = new(Assurance)
		return assurance.read(d, v.Assurance)
	}},
	{"domain_controls", may, func(d *decoder, v *TokenRequest) *FieldError {
		v.Controls = new(Controls)
		return controls.read(d, v.Controls)
	}},
}

var formFactors = []string{"phone", "ble-card", "band", "watch", "key-fob", "card-on-file"}

func (q *TokenRequest) read(d *decoder) *FieldError { return readTokenRequest(d, q) }

func readTokenRequest(d *decoder, q *TokenRequest) *FieldError {
	if err := tokenRequest.read(d, q); err != nil {
		return err
	}
	clear := q.PAN.Reveal() != ""
	if clear == (q.PANSealed != "") || clear != (q.PANExpiry != "") {
		return wrong("must name the card by pan and pan_expiry or by pan_jwe, one of them")
	}
	return nil
}

// cardNumber reads digits of a card number; whether they are one is the
// tokenizer's to say.
func cardNumber(d *decoder, v *Digits) *FieldError {
	var s string
	if err := digitText(d, &s, 12, 19); err != nil {
		return err
	}
	*v = NewDigits(s)
	return nil
}

// Token is a payment token and what is known of it.
type Token struct {
	Ref       string    `json:"token_reference_id"` // opaque, stable, safe to store
	Number    string    `json:"payment_token"`      // 13 to 19 digits
	Expiry    string    `json:"token_expiry_date"`  // YYMM
	Requestor string    `json:"token_requestor_id"`
	PAR       string    `json:"payment_account_reference"` // 29 characters, the same for all tokens of a card
	PANLast4  string    `json:"pan_last4"`
	Location  string    `json:"token_location"`
	State     string    `json:"state"` // REQUESTED, DELIVERED, ACTIVE, SUSPENDED, EXPIRED, DELETED
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"` // good before this moment
	CreatedAt time.Time `json:"created_at"`
	ChangedAt time.Time `json:"changed_at"`

	PSN         string       `json:"psn,omitempty"`
	FormFactor  string       `json:"form_factor,omitempty"`
	Device      string       `json:"device_id,omitempty"`
	Assurance   *Assurance   `json:"token_assurance,omitempty"`
	Controls    *Controls    `json:"domain_controls,omitempty"`
	Suspenders  []string     `json:"suspenders,omitempty"` // who holds it back
	Decision    string       `json:"decision,omitempty"`   // the issuer's: PENDING, APPROVED, STEP_UP, DECLINED
	Renews      string       `json:"renews,omitempty"`     // reference of the token it follows
	RenewedBy   string       `json:"renewed_by,omitempty"` // reference of the token that follows it
	Provisioned *Provisioned `json:"provisioned,omitempty"`
}

// Provisioned is the last word on how provisioning a token went.
type Provisioned struct {
	Result string    `json:"result"` // SUCCESS, FAILURE
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Move is the body of POST /v1/tokens/{ref}/suspend, /resume and /delete.
type Move struct {
	Reason string `json:"reason,omitempty"` // up to 64 printable characters, kept in the audit log
	// By says who suspends or lets go; absent: the caller, as requestor or as
	// issuer. A token is deleted by nobody in particular.
	By string `json:"suspender,omitempty"` // REQUESTOR, ISSUER, HOLDER, PIN_LOCK, RISK
}

var move = table[Move]{
	{"reason", may, func(d *decoder, v *Move) *FieldError { return note(d, &v.Reason, 64) }},
	{"suspender", may, func(d *decoder, v *Move) *FieldError {
		return choice(d, &v.By, "REQUESTOR", "ISSUER", "HOLDER", "PIN_LOCK", "RISK")
	}},
}

func (q *Move) read(d *decoder) *FieldError { return move.read(d, q) }

// BundleRequest is the body of POST /v1/tokens/{ref}/bundles.
type BundleRequest struct {
	DeviceKey PublicKey `json:"device_key"` // the bundle is enciphered to it
}

var publicKey = table[PublicKey]{
	{"kty", must, func(d *decoder, v *PublicKey) *FieldError { return choice(d, &v.KeyType, "EC") }},
	{"crv", must, func(d *decoder, v *PublicKey) *FieldError { return choice(d, &v.Curve, "P-256") }},
	{"x", must, func(d *decoder, v *PublicKey) *FieldError { return word(d, &v.X, 43, 43) }},
	{"y", must, func(d *decoder, v *PublicKey) *FieldError { return word(d, &v.Y, 43, 43) }},
	{"kid", may, func(d *decoder, v *PublicKey) *FieldError { return word(d, &v.KeyID, 1, 64) }},
	{"use", may, func(d *decoder, v *PublicKey) *FieldError { return choice(d, &v.Use, "enc") }},
	{"alg", may, func(d *decoder, v *PublicKey) *FieldError { return choice(d, &v.Alg, "ECDH-ES+A256KW") }},
}

var bundleRequest = table[BundleRequest]{
	{"device_key", must, func(d *decoder, v *BundleRequest) *FieldError { return publicKey.read(d, &v.DeviceKey) }},
}

func (q *BundleRequest) read(d *decoder) *FieldError { return bundleRequest.read(d, q) }

// Bundle is a set of single-use slot keys, enciphered to the device key.
type Bundle struct {
	ID       string    `json:"bundle_id"`
	JWE      string    `json:"bundle"` // compact JWE
	Slots    int       `json:"slots"`
	NotAfter time.Time `json:"not_after"`
}

// Ack is the body of POST /v1/tokens/{ref}/ack: the device proves that it
// opened the bundle.
type Ack struct {
	BundleID string `json:"bundle_id"`
	MAC      Hex32  `json:"mac"` // under the bundle's script key
}

var ack = table[Ack]{
	{"bundle_id", must, func(d *decoder, v *Ack) *FieldError { return name(d, &v.BundleID, 64) }},
	{"mac", must, func(d *decoder, v *Ack) *FieldError { return parse(d, &v.MAC) }},
}

func (q *Ack) read(d *decoder) *FieldError { return ack.read(d, q) }
