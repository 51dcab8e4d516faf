package wire

// Where is what a caller knows of a purchase, for the token's controls.
type Where struct {
	Merchant string `json:"merchant,omitempty"`
	Terminal string `json:"terminal_group,omitempty"`
	MCC      string `json:"mcc,omitempty"`     // 4 digits
	Channel  string `json:"channel,omitempty"` // contactless, ecommerce, inapp
	Country  string `json:"country,omitempty"` // ISO 3166-1 numeric
}

var where = table[Where]{
	{"merchant", may, func(d *decoder, v *Where) *FieldError { return party(d, &v.Merchant) }},
	{"terminal_group", may, func(d *decoder, v *Where) *FieldError { return party(d, &v.Terminal) }},
	{"mcc", may, func(d *decoder, v *Where) *FieldError { return digitText(d, &v.MCC, 4, 4) }},
	{"channel", may, func(d *decoder, v *Where) *FieldError { return channel(d, &v.Channel) }},
	{"country", may, func(d *decoder, v *Where) *FieldError { return digitText(d, &v.Country, 3, 3) }},
}

// DetokenizeRequest is the body of POST /v1/detokenize. It names a token by
// number or by reference, and its proof of use by the id of an accepted tap or
// by the whole tap; exactly one of each.
type DetokenizeRequest struct {
	Number  string `json:"payment_token,omitempty"`
	Ref     string `json:"token_reference_id,omitempty"`
	TapID   string `json:"tap_id,omitempty"`
	Tap     *Tap   `json:"tap,omitempty"`
	Where   *Where `json:"where,omitempty"`
	Answer  string `json:"answer,omitempty"`  // clear, or jwe: sealed to the key that the caller registered
	Result  string `json:"result,omitempty"`  // none, or jws: what was verified, signed
	Purpose string `json:"purpose,omitempty"` // settlement, dispute or authorisation; in a batch it stands outside
}

// query reads all of a request but its purpose.
var query = table[DetokenizeRequest]{
	{"payment_token", may, func(d *decoder, v *DetokenizeRequest) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"token_reference_id", may, func(d *decoder, v *DetokenizeRequest) *FieldError { return name(d, &v.Ref, 64) }},
	{"tap_id", may, func(d *decoder, v *DetokenizeRequest) *FieldError { return name(d, &v.TapID, 64) }},
	{"tap", may, func(d *decoder, v *DetokenizeRequest) *FieldError {
		v.Tap = new(Tap)
		return tap.read(d, v.Tap)
	}},
	{"where", may, func(d *decoder, v *DetokenizeRequest) *FieldError {
		v.Where = new(Where)
		return where.read(d, v.Where)
	}},
	{"answer", may, func(d *decoder, v *DetokenizeRequest) *FieldError { return choice(d, &v.Answer, "clear", "jwe") }},
	{"result", may, func(d *decoder, v *DetokenizeRequest) *FieldError { return choice(d, &v.Result, "none", "jws") }},
}

var detokenize = within(query, func(v *DetokenizeRequest) *DetokenizeRequest { return v },
	field[DetokenizeRequest]{"purpose", must, func(d *decoder, v *DetokenizeRequest) *FieldError { return purpose(d, &v.Purpose) }})

func purpose(d *decoder, v *string) *FieldError {
	return choice(d, v, "settlement", "dispute", "authorisation")
}

func (q *DetokenizeRequest) read(d *decoder) *FieldError {
	if err := detokenize.read(d, q); err != nil {
		return err
	}
	return q.complete()
}

func (q *DetokenizeRequest) complete() *FieldError {
	if (q.TapID == "") == (q.Tap == nil) {
		return wrong("must prove its use by tap_id or by tap, one of them")
	}
	return oneName(q.Number, q.Ref)
}

func oneName(number, ref string) *FieldError {
	if (number == "") == (ref == "") {
		return wrong("must name the token by payment_token or by token_reference_id, one of them")
	}
	return nil
}

// DetokenizeBatch is the body of POST /v1/detokenize/batch: 1 to 500 queries,
// for one purpose.
type DetokenizeBatch struct {
	Purpose string              `json:"purpose"`
	Queries []DetokenizeRequest `json:"queries"`
}

var detokenizeBatch = table[DetokenizeBatch]{
	{"purpose", must, func(d *decoder, v *DetokenizeBatch) *FieldError { return purpose(d, &v.Purpose) }},
	{"queries", must, func(d *decoder, v *DetokenizeBatch) *FieldError {
		return list(d, &v.Queries, MaxRecords, func(d *decoder, q *DetokenizeRequest) *FieldError {
			if err := query.read(d, q); err != nil {
				return err
			}
			return q.complete()
		})
	}},
}

func (q *DetokenizeBatch) read(d *decoder) *FieldError { return detokenizeBatch.read(d, q) }

// DirectRequest is the body of POST /v1/detokenize/direct: a card number
// without evidence of a tap.
type DirectRequest struct {
	Number   string `json:"payment_token,omitempty"`
	Ref      string `json:"token_reference_id,omitempty"`
	Where    *Where `json:"where,omitempty"`
	Amount   uint32 `json:"amount,omitempty"`   // fen, of the purchase
	Purchase string `json:"purchase,omitempty"` // the caller's name for it: it counts once under that name
	Answer   string `json:"answer,omitempty"`   // clear, or jwe
	Purpose  string `json:"purpose,omitempty"`  // in a batch it stands outside
}

var directQuery = table[DirectRequest]{
	{"payment_token", may, func(d *decoder, v *DirectRequest) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"token_reference_id", may, func(d *decoder, v *DirectRequest) *FieldError { return name(d, &v.Ref, 64) }},
	{"where", may, func(d *decoder, v *DirectRequest) *FieldError {
		v.Where = new(Where)
		return where.read(d, v.Where)
	}},
	{"amount", may, func(d *decoder, v *DirectRequest) *FieldError { return unsigned(d, &v.Amount) }},
	{"purchase", may, func(d *decoder, v *DirectRequest) *FieldError { return name(d, &v.Purchase, 64) }},
	{"answer", may, func(d *decoder, v *DirectRequest) *FieldError { return choice(d, &v.Answer, "clear", "jwe") }},
}

var direct = within(directQuery, func(v *DirectRequest) *DirectRequest { return v },
	field[DirectRequest]{"purpose", must, func(d *decoder, v *DirectRequest) *FieldError { return purpose(d, &v.Purpose) }})

func (q *DirectRequest) read(d *decoder) *FieldError {
	if err := direct.read(d, q); err != nil {
		return err
	}
	return oneName(q.Number, q.Ref)
}

// DirectBatch is the body of POST /v1/detokenize/direct/batch.
type DirectBatch struct {
	Purpose string          `json:"purpose"`
	Queries []DirectRequest `json:"queries"`
}

var directBatch = table[DirectBatch]{
	{"purpose", must, func(d *decoder, v *DirectBatch) *FieldError { return purpose(d, &v.Purpose) }},
	{"queries", must, func(d *decoder, v *DirectBatch) *FieldError {
		return list(d, &v.Queries, MaxRecords, func(d *decoder, q *DirectRequest) *FieldError {
			if err := directQuery.read(d, q); err != nil {
				return err
			}
			return oneName(q.Number, q.Ref)
		})
	}},
}

func (q *DirectBatch) read(d *decoder) *FieldError { return directBatch.read(d, q) }

// Detokenized is a card number: in clear, or sealed to the caller's key.
type Detokenized struct {
	Ref       string     `json:"token_reference_id"`
	Requestor string     `json:"token_requestor_id,omitempty"`
	PAR       string     `json:"payment_account_reference,omitempty"`
	PAN       Digits     `json:"pan,omitzero"`
	PANExpiry string     `json:"pan_expiry,omitempty"` // YYMM
	PANSealed string     `json:"pan_jwe,omitempty"`    // compact JWE over {"pan","expiry"}
	TapID     string     `json:"tap_id,omitempty"`     // the tap that proved the use
	Result    string     `json:"result,omitempty"`     // compact JWS over what was verified
	Assurance *Assurance `json:"token_assurance,omitempty"`
}

// DetokenizeResult is the answer to one query of a batch: a card number, or the
// problem that the query would have been answered alone.
type DetokenizeResult struct {
	Card    *Detokenized `json:"card,omitempty"`
	Problem *Problem     `json:"problem,omitempty"`
}

// DetokenizeResults is the answer to a batch, in the same order.
type DetokenizeResults struct {
	Results []DetokenizeResult `json:"results"`
}
