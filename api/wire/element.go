package wire

const (
	maxModulus = 512  // of an RSA key of 4096 bits
	maxReceipt = 8192 // of a secure element
)

// ElementEnrolment is the body of POST /v1/elements.
type ElementEnrolment struct {
	Wallet      string      `json:"wallet_id"`
	Serial      Hex8        `json:"serial"`
	Modulus     Bytes       `json:"modulus"` // of its RSA key; the exponent is 65537
	Attestation Attestation `json:"attestation"`
}

var elementEnrolment = table[ElementEnrolment]{
	{"wallet_id", must, func(d *decoder, v *ElementEnrolment) *FieldError { return name(d, &v.Wallet, 28) }},
	{"serial", must, func(d *decoder, v *ElementEnrolment) *FieldError { return parse(d, &v.Serial) }},
	{"modulus", must, func(d *decoder, v *ElementEnrolment) *FieldError { return bytesUpTo(d, &v.Modulus, maxModulus) }},
	{"attestation", must, func(d *decoder, v *ElementEnrolment) *FieldError { return attestation.read(d, &v.Attestation) }},
}

func (q *ElementEnrolment) read(d *decoder) *FieldError { return elementEnrolment.read(d, q) }

// ElementOrder is the body of POST /v1/elements/{element}/scripts.
type ElementOrder struct {
	Verb string `json:"verb"` // ISSUE, UNBLOCK_PIN, ERASE
	Ref  string `json:"token_reference_id,omitempty"`
	PIN  string `json:"pin_jwe,omitempty"`
}

var elementOrder = table[ElementOrder]{
	{"verb", must, func(d *decoder, v *ElementOrder) *FieldError {
		return choice(d, &v.Verb, "ISSUE", "UNBLOCK_PIN", "ERASE")
	}},
	{"token_reference_id", may, func(d *decoder, v *ElementOrder) *FieldError { return name(d, &v.Ref, 64) }},
	{"pin_jwe", may, func(d *decoder, v *ElementOrder) *FieldError { return sealed(d, &v.PIN) }},
}

func (q *ElementOrder) read(d *decoder) *FieldError { return elementOrder.read(d, q) }

// ElementCourier is the body of POST /v1/elements/{element}/courier.
type ElementCourier struct {
	Receipt Bytes `json:"receipt,omitempty"` // as the element gave it
}

var elementCourier = table[ElementCourier]{
	{"receipt", may, func(d *decoder, v *ElementCourier) *FieldError { return bytesUpTo(d, &v.Receipt, maxReceipt) }},
}

func (q *ElementCourier) read(d *decoder) *FieldError { return elementCourier.read(d, q) }

// ElementScript is what a courier takes back.
type ElementScript struct {
	Seq    uint32 `json:"seq,omitempty"`
	Script Bytes  `json:"script,omitempty"` // absent: there is none that the element has not obeyed
}

// Element is a secure element as it is known.
type Element struct {
	ID         string `json:"element_id"`
	Wallet     string `json:"wallet_id"`
	Serial     Hex8   `json:"serial"`
	State      string `json:"state"`
	KeyVersion uint8  `json:"key_version"`
	Ref        string `json:"token_reference_id,omitempty"` // that it was issued last
	Made       uint32 `json:"scripts_made"`
	Obeyed     uint32 `json:"scripts_obeyed"`
	Tries      uint8  `json:"pin_tries"`
	Balance    uint32 `json:"balance"`
}
