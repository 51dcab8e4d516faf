package wire

// Hex5 is five bytes: the header of a command, or a part of a cryptogram.
type Hex5 [5]byte

// MarshalText prints upper-case hex.
func (h Hex5) MarshalText() ([]byte, error) { return printHex(h[:]) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex5) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// EMVValue is the body of POST /v1/emv/values: which value of which card.
type EMVValue struct {
	PAN        Digits `json:"pan,omitzero"`
	PANSealed  string `json:"pan_jwe,omitempty"`
	PSN        string `json:"psn,omitempty"`
	Kind       string `json:"kind"`                   // cvv, cvv2, icvv, dcvv, cvc3
	Expiry     string `json:"expiry,omitempty"`       // 4 digits, YYMM or MMYY as the issuer chose; all but cvc3
	Service    string `json:"service_code,omitempty"` // 3 digits; cvv and dcvv
	ATC        *Hex2  `json:"atc,omitempty"`          // dcvv and cvc3
	UN         *Hex4  `json:"un,omitempty"`           // cvc3
	Track      Bytes  `json:"track,omitempty"`        // cvc3: 1 to 128 bytes
	KeyVersion uint8  `json:"key_version,omitempty"`
}

var emvValue = table[EMVValue]{
	{"pan", may, func(d *decoder, v *EMVValue) *FieldError { return cardNumber(d, &v.PAN) }},
	{"pan_jwe", may, func(d *decoder, v *EMVValue) *FieldError { return sealed(d, &v.PANSealed) }},
	{"psn", may, func(d *decoder, v *EMVValue) *FieldError { return digitText(d, &v.PSN, 2, 2) }},
	{"kind", must, func(d *decoder, v *EMVValue) *FieldError {
		return choice(d, &v.Kind, "cvv", "cvv2", "icvv", "dcvv", "cvc3")
	}},
	{"expiry", may, func(d *decoder, v *EMVValue) *FieldError { return digitText(d, &v.Expiry, 4, 4) }},
	{"service_code", may, func(d *decoder, v *EMVValue) *FieldError { return digitText(d, &v.Service, 3, 3) }},
	{"atc", may, func(d *decoder, v *EMVValue) *FieldError { return optional(d, &v.ATC) }},
	{"un", may, func(d *decoder, v *EMVValue) *FieldError { return optional(d, &v.UN) }},
	{"track", may, func(d *decoder, v *EMVValue) *FieldError { return bytesUpTo(d, &v.Track, 128) }},
	{"key_version", may, func(d *decoder, v *EMVValue) *FieldError { return unsigned(d, &v.KeyVersion) }},
}

func (q *EMVValue) read(d *decoder) *FieldError {
	if err := emvValue.read(d, q); err != nil {
		return err
	}
	return q.complete()
}

func (q *EMVValue) complete() *FieldError {
	counter, track, stripe := q.Kind == "dcvv" || q.Kind == "cvc3", q.Kind == "cvc3", q.Kind == "cvv" || q.Kind == "dcvv"
	switch {
	case (q.PAN.Reveal() == "") == (q.PANSealed == ""):
		return wrong("must name the card by pan or by pan_jwe, one of them")
	case (q.ATC != nil) != counter:
		return (&FieldError{Text: "must stand with dcvv and cvc3, and with no other kind"}).under("atc")
	case (q.UN != nil) != track, (len(q.Track) > 0) != track:
		return wrong("must hold un and track with cvc3, and with no other kind")
	case (q.Expiry != "") == track:
		return (&FieldError{Text: "must stand with every kind but cvc3"}).under("expiry")
	case (q.Service != "") != stripe:
		return (&FieldError{Text: "must stand with cvv and dcvv, and with no other kind"}).under("service_code")
	}
	return nil
}

// EMVValueCheck is the body of POST /v1/emv/values/verify.
type EMVValueCheck struct {
	EMVValue
	Value string `json:"value"` // 3 digits; of a cvc3, as many as the track carries, 3 to 5
}

var emvValueCheck = within(emvValue, func(v *EMVValueCheck) *EMVValue { return &v.EMVValue },
	field[EMVValueCheck]{"value", must, func(d *decoder, v *EMVValueCheck) *FieldError { return digitText(d, &v.Value, 3, 5) }})

func (q *EMVValueCheck) read(d *decoder) *FieldError {
	if err := emvValueCheck.read(d, q); err != nil {
		return err
	}
	return q.complete()
}

// EMVValueMade is the answer of POST /v1/emv/values.
type EMVValueMade struct {
	Value string `json:"value"`
}

// EMVValueBatch is the body of POST /v1/emv/values/batch: 1 to 500 values.
type EMVValueBatch struct {
	Values []EMVValue `json:"values"`
}

var emvValueBatch = table[EMVValueBatch]{
	{"values", must, func(d *decoder, v *EMVValueBatch) *FieldError {
		return list(d, &v.Values, MaxRecords, func(d *decoder, q *EMVValue) *FieldError { return q.read(d) })
	}},
}

func (q *EMVValueBatch) read(d *decoder) *FieldError { return emvValueBatch.read(d, q) }

// EMVValueCheckBatch is the body of POST /v1/emv/values/verify/batch: 1 to 500
// values that were shown.
type EMVValueCheckBatch struct {
	Values []EMVValueCheck `json:"values"`
}

var emvValueCheckBatch = table[EMVValueCheckBatch]{
	{"values", must, func(d *decoder, v *EMVValueCheckBatch) *FieldError {
		return list(d, &v.Values, MaxRecords, func(d *decoder, q *EMVValueCheck) *FieldError { return q.read(d) })
	}},
}

func (q *EMVValueCheckBatch) read(d *decoder) *FieldError { return emvValueCheckBatch.read(d, q) }

// EMVValueResult is what became of one value of a batch: it was made, it was
// right, or there is a problem.
type EMVValueResult struct {
	Value    string   `json:"value,omitempty"`
	Verified bool     `json:"verified,omitempty"`
	Problem  *Problem `json:"problem,omitempty"`
}

// EMVValueResults is the answer to both batches of values, in the same order.
type EMVValueResults struct {
	Results []EMVValueResult `json:"results"`
}

// EMVCommand is one command of a script.
type EMVCommand struct {
	Header Hex5  `json:"header"` // CLA INS P1 P2 Lc
	Data   Bytes `json:"data,omitempty"`
	// PINSealed is a new PIN in the place of data, sealed to the intake key:
	// {"new_pin","current_pin","client_id"}. It is enciphered.
	PINSealed string `json:"pin_jwe,omitempty"`
	Encipher  string `json:"encipher,omitempty"` // visa, mchip or emv; absent: the data stays as it is
}

var emvCommand = table[EMVCommand]{
	{"header", must, func(d *decoder, v *EMVCommand) *FieldError { return parse(d, &v.Header) }},
	{"data", may, func(d *decoder, v *EMVCommand) *FieldError { return bytesUpTo(d, &v.Data, 240) }},
	{"pin_jwe", may, func(d *decoder, v *EMVCommand) *FieldError { return sealed(d, &v.PINSealed) }},
	{"encipher", may, func(d *decoder, v *EMVCommand) *FieldError { return choice(d, &v.Encipher, "visa", "mchip", "emv") }},
}

// EMVScript is the body of POST /v1/emv/scripts.
type EMVScript struct {
	PAN        Digits       `json:"pan,omitzero"`
	PANSealed  string       `json:"pan_jwe,omitempty"`
	PSN        string       `json:"psn,omitempty"`
	Number     string       `json:"payment_token,omitempty"`
	Ref        string       `json:"token_reference_id,omitempty"`
	Profile    string       `json:"profile"`
	KeyVersion uint8        `json:"key_version,omitempty"`
	ATC        Hex2         `json:"atc"`
	Cryptogram Hex8         `json:"cryptogram"`
	Rule       string       `json:"rule,omitempty"`  // common, which is the default, or visa
	First      uint16       `json:"first,omitempty"` // number of the first command in the transaction, from 0
	Commands   []EMVCommand `json:"commands"`
}

var emvScript = table[EMVScript]{
	{"pan", may, func(d *decoder, v *EMVScript) *FieldError { return cardNumber(d, &v.PAN) }},
	{"pan_jwe", may, func(d *decoder, v *EMVScript) *FieldError { return sealed(d, &v.PANSealed) }},
	{"psn", may, func(d *decoder, v *EMVScript) *FieldError { return digitText(d, &v.PSN, 2, 2) }},
	{"payment_token", may, func(d *decoder, v *EMVScript) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"token_reference_id", may, func(d *decoder, v *EMVScript) *FieldError { return name(d, &v.Ref, 64) }},
	{"profile", must, func(d *decoder, v *EMVScript) *FieldError { return name(d, &v.Profile, 32) }},
	{"key_version", may, func(d *decoder, v *EMVScript) *FieldError { return unsigned(d, &v.KeyVersion) }},
	{"atc", must, func(d *decoder, v *EMVScript) *FieldError { return parse(d, &v.ATC) }},
	{"cryptogram", must, func(d *decoder, v *EMVScript) *FieldError { return parse(d, &v.Cryptogram) }},
	{"rule", may, func(d *decoder, v *EMVScript) *FieldError { return choice(d, &v.Rule, "common", "visa") }},
	{"first", may, func(d *decoder, v *EMVScript) *FieldError { return unsigned(d, &v.First) }},
	{"commands", must, func(d *decoder, v *EMVScript) *FieldError { return list(d, &v.Commands, 16, readEMVCommand) }},
}

func readEMVCommand(d *decoder, v *EMVCommand) *FieldError {
	if err := emvCommand.read(d, v); err != nil {
		return err
	}
	if v.PINSealed != "" && (v.Encipher == "" || len(v.Data) > 0) {
		return wrong("must encipher a PIN, which stands without data")
	}
	if v.Encipher != "" && len(v.Data) == 0 && v.PINSealed == "" {
		return wrong("must hold data to encipher")
	}
	return nil
}

func (q *EMVScript) read(d *decoder) *FieldError {
	if err := emvScript.read(d, q); err != nil {
		return err
	}
	named := EMVTransaction{PAN: q.PAN, PANSealed: q.PANSealed, PSN: q.PSN, Number: q.Number, Ref: q.Ref, DE55: Bytes{0}}
	return named.complete()
}

// EMVSigned is a command as it is sent; cards take the left 4 to 8 bytes of the
// MAC.
type EMVSigned struct {
	Header Hex5  `json:"header"`
	Data   Bytes `json:"data,omitempty"`
	MAC    Hex8  `json:"mac"`
}

// EMVScriptMade is the answer of POST /v1/emv/scripts.
type EMVScriptMade struct {
	Commands []EMVSigned `json:"commands"`
}

// EMVScriptBatch is the body of POST /v1/emv/scripts/batch: 1 to 500 scripts.
type EMVScriptBatch struct {
	Scripts []EMVScript `json:"scripts"`
}

var emvScriptBatch = table[EMVScriptBatch]{
	{"scripts", must, func(d *decoder, v *EMVScriptBatch) *FieldError {
		return list(d, &v.Scripts, MaxRecords, func(d *decoder, q *EMVScript) *FieldError { return q.read(d) })
	}},
}

func (q *EMVScriptBatch) read(d *decoder) *FieldError { return emvScriptBatch.read(d, q) }

// EMVScriptResult is what became of one script of a batch.
type EMVScriptResult struct {
	Commands []EMVSigned `json:"commands,omitempty"`
	Problem  *Problem    `json:"problem,omitempty"`
}

// EMVScriptResults is the answer to [EMVScriptBatch], in the same order.
type EMVScriptResults struct {
	Results []EMVScriptResult `json:"results"`
}

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
