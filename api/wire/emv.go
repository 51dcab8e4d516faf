package wire

import (
	"github.com/tapvault/tapvault/internal/digits"
)

// EMVData holds fields of a transaction by their tag.
type EMVData map[string]Bytes

const maxFields = 64

// emvData reads 1 to 64 fields: tags in upper-case hex, or names of fields that
// have no tag.
func emvData(d *decoder, v *EMVData) *FieldError {
	if !d.take('{') {
		return wrong("must be a JSON object")
	}
	*v = EMVData{}
	if d.take('}') {
		return wrong("must hold 1 to %d fields", maxFields)
	}
	for {
		name, err := d.name()
		if err != nil {
			return err
		}
		if !isFieldName(name) {
			return wrong("holds a name that is no tag in upper-case hex")
		}
		if _, ok := (*v)[string(name)]; ok || len(*v) == maxFields {
			return wrong("must hold at most %d fields, each once", maxFields)
		}
		if !d.take(':') {
			return wrong("must be a JSON object: a colon is missing")
		}
		var b Bytes
		if err := bytesUpTo(d, &b, 255); err != nil {
			return err.under(string(name))
		}
		(*v)[string(name)] = b
		if d.take('}') {
			return nil
		}
		if !d.take(',') {
			return wrong("must be a JSON object: a comma or brace is missing")
		}
	}
}

func isFieldName(name []byte) bool {
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= 16 && !digits.InName(string(name))
}

// EMVTransaction is the body of POST /v1/emv/verify and /v1/emv/explain: who
// paid, and a cryptogram with what it covers. The payer is named by pan,
// pan_jwe, payment_token or token_reference_id, one of them; the data stands in
// data or in de55.
type EMVTransaction struct {
	PAN        Digits  `json:"pan,omitzero"`
	PANSealed  string  `json:"pan_jwe,omitempty"`
	PSN        string  `json:"psn,omitempty"` // 2 digits, of a card; absent: 00
	Number     string  `json:"payment_token,omitempty"`
	Ref        string  `json:"token_reference_id,omitempty"`
	Profile    string  `json:"profile"`
	KeyVersion uint8   `json:"key_version,omitempty"` // of the issuer's key; absent: the newest
	Data       EMVData `json:"data,omitempty"`
	DE55       Bytes   `json:"de55,omitempty"`
	Cryptogram Hex8    `json:"cryptogram"` // tag 9F26
}

var emvTransaction = table[EMVTransaction]{
	{"pan", may, func(d *decoder, v *EMVTransaction) *FieldError { return cardNumber(d, &v.PAN) }},
	{"pan_jwe", may, func(d *decoder, v *EMVTransaction) *FieldError { return sealed(d, &v.PANSealed) }},
	{"psn", may, func(d *decoder, v *EMVTransaction) *FieldError { return digitText(d, &v.PSN, 2, 2) }},
	{"payment_token", may, func(d *decoder, v *EMVTransaction) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"token_reference_id", may, func(d *decoder, v *EMVTransaction) *FieldError { return name(d, &v.Ref, 64) }},
	{"profile", must, func(d *decoder, v *EMVTransaction) *FieldError { return name(d, &v.Profile, 32) }},
	{"key_version", may, func(d *decoder, v *EMVTransaction) *FieldError { return unsigned(d, &v.KeyVersion) }},
	{"data", may, func(d *decoder, v *EMVTransaction) *FieldError { return emvData(d, &v.Data) }},
	{"de55", may, func(d *decoder, v *EMVTransaction) *FieldError { return bytesUpTo(d, &v.DE55, 999) }},
	{"cryptogram", must, func(d *decoder, v *EMVTransaction) *FieldError { return parse(d, &v.Cryptogram) }},
}

func (q *EMVTransaction) read(d *decoder) *FieldError {
	if err := emvTransaction.read(d, q); err != nil {
		return err
	}
	return q.complete()
}

func (q *EMVTransaction) complete() *FieldError {
	named := 0
	for _, is := range []bool{q.PAN.Reveal() != "", q.PANSealed != "", q.Number != "", q.Ref != ""} {
		if is {
			named++
		}
	}
	switch {
	case named != 1:
		return wrong("must name who paid by pan, pan_jwe, payment_token or token_reference_id, one of them")
	case q.PSN != "" && (q.Number != "" || q.Ref != ""):
		return (&FieldError{Text: "must stand beside a card only: a token has its own"}).under("psn")
	case (len(q.Data) == 0) == (len(q.DE55) == 0):
		return wrong("must hold what the cryptogram covers in data or in de55, one of them")
	}
	return nil
}

// EMVAnswer is what the issuer tells the card. A profile that answers by method
// 1 takes arc, one that answers by method 2 the others.
type EMVAnswer struct {
	ARC         *Hex2 `json:"arc,omitempty"`         // authorisation response code, as the bytes of its two characters
	CSU         *Hex4 `json:"csu,omitempty"`         // card status update
	Proprietary Bytes `json:"proprietary,omitempty"` // 1 to 8 bytes
}

var emvAnswer = table[EMVAnswer]{
	{"arc", may, func(d *decoder, v *EMVAnswer) *FieldError { return optional(d, &v.ARC) }},
	{"csu", may, func(d *decoder, v *EMVAnswer) *FieldError { return optional(d, &v.CSU) }},
	{"proprietary", may, func(d *decoder, v *EMVAnswer) *FieldError { return bytesUpTo(d, &v.Proprietary, 8) }},
}

// EMVRequest is the body of POST /v1/emv/arqc.
type EMVRequest struct {
	EMVTransaction
	Answer *EMVAnswer `json:"answer,omitempty"` // absent: none is made
}

var emvRequest = within(emvTransaction, func(v *EMVRequest) *EMVTransaction { return &v.EMVTransaction },
	field[EMVRequest]{"answer", may, func(d *decoder, v *EMVRequest) *FieldError {
		v.Answer = new(EMVAnswer)
		if err := emvAnswer.read(d, v.Answer); err != nil {
			return err
		}
		if (v.Answer.ARC == nil) == (v.Answer.CSU == nil) || v.Answer.CSU == nil && len(v.Answer.Proprietary) > 0 {
			return wrong("must hold arc, or csu with proprietary data where there is some")
		}
		return nil
	}})

func readEMVRequest(d *decoder, q *EMVRequest) *FieldError {
	if err := emvRequest.read(d, q); err != nil {
		return err
	}
	return q.complete()
}

func (q *EMVRequest) read(d *decoder) *FieldError { return readEMVRequest(d, q) }

// EMVBatch is the body of POST /v1/emv/arqc/batch: 1 to 500 requests.
type EMVBatch struct {
	Transactions []EMVRequest `json:"transactions"`
}

var emvBatch = table[EMVBatch]{
	{"transactions", must, func(d *decoder, v *EMVBatch) *FieldError {
		return list(d, &v.Transactions, MaxRecords, readEMVRequest)
	}},
}

func (q *EMVBatch) read(d *decoder) *FieldError { return emvBatch.read(d, q) }

// EMVResponse is the answer to an [EMVRequest] that held.
type EMVResponse struct {
	Verified bool   `json:"verified"`
	ATC      uint16 `json:"atc"`                                  // the counter that was taken
	Response Bytes  `json:"issuer_authentication_data,omitempty"` // tag 91
}

// EMVResult is what became of one request of a batch.
type EMVResult struct {
	Response *EMVResponse `json:"response,omitempty"`
	Problem  *Problem     `json:"problem,omitempty"`
}

// EMVResults is the answer to [EMVBatch], in the same order.
type EMVResults struct {
	Results []EMVResult `json:"results"`
}

// EMVVerifyBatch is the body of POST /v1/emv/verify/batch: 1 to 500 transactions
// of cards.
type EMVVerifyBatch struct {
	Transactions []EMVTransaction `json:"transactions"`
}

var emvVerifyBatch = table[EMVVerifyBatch]{
	{"transactions", must, func(d *decoder, v *EMVVerifyBatch) *FieldError {
		return list(d, &v.Transactions, MaxRecords, func(d *decoder, q *EMVTransaction) *FieldError { return q.read(d) })
	}},
}

func (q *EMVVerifyBatch) read(d *decoder) *FieldError { return emvVerifyBatch.read(d, q) }

// EMVVerifyResult is what became of one transaction of a batch: its cryptogram
// holds, or there is a problem.
type EMVVerifyResult struct {
	Verified bool     `json:"verified,omitempty"`
	Problem  *Problem `json:"problem,omitempty"`
}

// EMVVerifyResults is the answer to [EMVVerifyBatch], in the same order.
type EMVVerifyResults struct {
	Results []EMVVerifyResult `json:"results"`
}
