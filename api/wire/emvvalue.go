package wire

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
