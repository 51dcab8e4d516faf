package wire

// TokenBatch is the body of POST /v1/tokens/batch: 1 to 500 requests.
type TokenBatch struct {
	Tokens []TokenRequest `json:"tokens"`
}

var tokenBatch = table[TokenBatch]{
	{"tokens", must, func(d *decoder, v *TokenBatch) *FieldError { return list(d, &v.Tokens, MaxRecords, readTokenRequest) }},
}

func (q *TokenBatch) read(d *decoder) *FieldError { return tokenBatch.read(d, q) }

// TokenResult is what became of one request: a token, or the problem that it
// would have been answered alone.
type TokenResult struct {
	Token   *Token   `json:"token,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
}

// TokenResults is the answer to [TokenBatch], in the same order.
type TokenResults struct {
	Results []TokenResult `json:"results"`
}

// TokenList is a page of GET /v1/tokens.
type TokenList struct {
	Tokens []Token `json:"tokens"`
	// Unreadable names tokens of this page of which what is stored is damaged: the operator
	// knows of it.
	Unreadable []string `json:"unreadable,omitempty"`
	Next       string   `json:"next_cursor,omitempty"` // absent on the last page
}

// ReplaceCard is the body of POST /v1/cards/replace. The old card is named by
// pan or pan_jwe; the new one by new_pan and new_pan_expiry, by new_pan_expiry
// alone when the number stays, or by new_pan_jwe.
type ReplaceCard struct {
	PAN       Digits `json:"pan,omitzero"`
	PANSealed string `json:"pan_jwe,omitempty"`
	NewPAN    Digits `json:"new_pan,omitzero"`
	NewExpiry string `json:"new_pan_expiry,omitempty"` // YYMM
	NewSealed string `json:"new_pan_jwe,omitempty"`
}

var replaceCard = table[ReplaceCard]{
	{"pan", may, func(d *decoder, v *ReplaceCard) *FieldError { return cardNumber(d, &v.PAN) }},
	{"pan_jwe", may, func(d *decoder, v *ReplaceCard) *FieldError { return sealed(d, &v.PANSealed) }},
	{"new_pan", may, func(d *decoder, v *ReplaceCard) *FieldError { return cardNumber(d, &v.NewPAN) }},
	{"new_pan_expiry", may, func(d *decoder, v *ReplaceCard) *FieldError { return digitText(d, &v.NewExpiry, 4, 4) }},
	{"new_pan_jwe", may, func(d *decoder, v *ReplaceCard) *FieldError { return sealed(d, &v.NewSealed) }},
}

func (q *ReplaceCard) read(d *decoder) *FieldError {
	if err := replaceCard.read(d, q); err != nil {
		return err
	}
	if (q.PAN.Reveal() == "") == (q.PANSealed == "") {
		return wrong("must name the old card by pan or by pan_jwe, one of them")
	}
	if (q.NewExpiry == "") == (q.NewSealed == "") || q.NewSealed != "" && q.NewPAN.Reveal() != "" {
		return wrong("must name the new card by new_pan_expiry, with new_pan if that is new, or by new_pan_jwe")
	}
	return nil
}

// ReplacedCard is the answer of POST /v1/cards/replace.
type ReplacedCard struct {
	PAR      string `json:"payment_account_reference"` // stays when a card is replaced
	PANLast4 string `json:"pan_last4"`
	Living   int    `json:"living_tokens"` // that now stand for the new card
}

// PAREnquiry is the body of POST /v1/par.
type PAREnquiry struct {
	PAN       Digits `json:"pan,omitzero"`
	PANSealed string `json:"pan_jwe,omitempty"`
}

var parEnquiry = table[PAREnquiry]{
	{"pan", may, func(d *decoder, v *PAREnquiry) *FieldError { return cardNumber(d, &v.PAN) }},
	{"pan_jwe", may, func(d *decoder, v *PAREnquiry) *FieldError { return sealed(d, &v.PANSealed) }},
}

func (q *PAREnquiry) read(d *decoder) *FieldError {
	if err := parEnquiry.read(d, q); err != nil {
		return err
	}
	if (q.PAN.Reveal() == "") == (q.PANSealed == "") {
		return wrong("must name the card by pan or by pan_jwe, one of them")
	}
	return nil
}

// PAR is the answer of POST /v1/par.
type PAR struct {
	PAR string `json:"payment_account_reference"`
}
