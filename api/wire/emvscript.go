package wire

// EMVCommand is one command of a script.
type EMVCommand struct {
	Header Hex5  `json:"header"` // CLA INS P1 P2 Lc
	Data   Bytes `json:"data,omitempty"`
	// PINSealed is a new PIN in the place of data, sealed to the intake key:
	// {"new_pin","current_pin","client_id"}. It is enciphered.
	PINSealed string `json:"pin_jwe,omitempty"`
	Encipher  string `json:"encipher,omitempty"` // visa, mchip or emv; absent: the data stays as it is
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

var emvCommand = table[EMVCommand]{
	{"header", must, func(d *decoder, v *EMVCommand) *FieldError { return parse(d, &v.Header) }},
	{"data", may, func(d *decoder, v *EMVCommand) *FieldError { return bytesUpTo(d, &v.Data, 240) }},
	{"pin_jwe", may, func(d *decoder, v *EMVCommand) *FieldError { return sealed(d, &v.PINSealed) }},
	{"encipher", may, func(d *decoder, v *EMVCommand) *FieldError { return choice(d, &v.Encipher, "visa", "mchip", "emv") }},
}
