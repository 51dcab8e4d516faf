package wire

// EMVPurchase is the body of POST /v1/emv/token-cryptograms.
type EMVPurchase struct {
	Number   string `json:"payment_token,omitempty"`
	Ref      string `json:"token_reference_id,omitempty"`
	Profile  string `json:"profile"`
	Amount   uint64 `json:"amount"`   // minor units, up to 12 digits
	Currency string `json:"currency"` // ISO 4217, 3 digits
}

var emvPurchase = table[EMVPurchase]{
	{"payment_token", may, func(d *decoder, v *EMVPurchase) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"token_reference_id", may, func(d *decoder, v *EMVPurchase) *FieldError { return name(d, &v.Ref, 64) }},
	{"profile", must, func(d *decoder, v *EMVPurchase) *FieldError { return name(d, &v.Profile, 32) }},
	{"amount", must, func(d *decoder, v *EMVPurchase) (err *FieldError) {
		v.Amount, err = d.number(999_999_999_999)
		return err
	}},
	{"currency", must, func(d *decoder, v *EMVPurchase) *FieldError { return digitText(d, &v.Currency, 3, 3) }},
}

func (q *EMVPurchase) read(d *decoder) *FieldError {
	if err := emvPurchase.read(d, q); err != nil {
		return err
	}
	return oneName(q.Number, q.Ref)
}

// EMVPurchaseCheck is the body of POST /v1/emv/token-cryptograms/verify.
type EMVPurchaseCheck struct {
	EMVPurchase
	Requestor  string `json:"token_requestor_id"`
	Cryptogram string `json:"cryptogram"` // 28 characters of base64
}

var emvPurchaseCheck = within(emvPurchase, func(v *EMVPurchaseCheck) *EMVPurchase { return &v.EMVPurchase },
	field[EMVPurchaseCheck]{"token_requestor_id", must, func(d *decoder, v *EMVPurchaseCheck) *FieldError { return digitText(d, &v.Requestor, 11, 11) }},
	field[EMVPurchaseCheck]{"cryptogram", must, func(d *decoder, v *EMVPurchaseCheck) *FieldError { return word(d, &v.Cryptogram, 28, 28) }})

func (q *EMVPurchaseCheck) read(d *decoder) *FieldError {
	if err := emvPurchaseCheck.read(d, q); err != nil {
		return err
	}
	return oneName(q.Number, q.Ref)
}

// EMVPurchaseMade is the answer of POST /v1/emv/token-cryptograms.
type EMVPurchaseMade struct {
	Number     string `json:"payment_token"`
	Expiry     string `json:"token_expiry_date"`
	Cryptogram string `json:"cryptogram"`
}

// EMVPhone is the body of POST /v1/emv/phones/verify.
type EMVPhone struct {
	Number  string `json:"payment_token,omitempty"`
	Ref     string `json:"token_reference_id,omitempty"`
	Profile string `json:"profile"`
	ATC     Hex2   `json:"atc"`
	Message Bytes  `json:"message"`           // what both cover, without padding
	User    Hex8   `json:"user_cryptogram"`   // tag 9F26
	Device  Hex5   `json:"device_cryptogram"` // its left part, from 9F10
}

var emvPhone = table[EMVPhone]{
	{"payment_token", may, func(d *decoder, v *EMVPhone) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"token_reference_id", may, func(d *decoder, v *EMVPhone) *FieldError { return name(d, &v.Ref, 64) }},
	{"profile", must, func(d *decoder, v *EMVPhone) *FieldError { return name(d, &v.Profile, 32) }},
	{"atc", must, func(d *decoder, v *EMVPhone) *FieldError { return parse(d, &v.ATC) }},
	{"message", must, func(d *decoder, v *EMVPhone) *FieldError { return bytesUpTo(d, &v.Message, 255) }},
	{"user_cryptogram", must, func(d *decoder, v *EMVPhone) *FieldError { return parse(d, &v.User) }},
	{"device_cryptogram", must, func(d *decoder, v *EMVPhone) *FieldError { return parse(d, &v.Device) }},
}

func (q *EMVPhone) read(d *decoder) *FieldError {
	if err := emvPhone.read(d, q); err != nil {
		return err
	}
	return oneName(q.Number, q.Ref)
}

// EMVVerdict is the answer of POST /v1/emv/phones/verify: GOOD or WRONG_PIN.
type EMVVerdict struct {
	Verdict string `json:"verdict"`
}
