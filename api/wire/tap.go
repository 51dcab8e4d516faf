package wire

// Tap is one offline purchase as the terminal recorded it.
type Tap struct {
	TermID      Hex6   `json:"term_id"`
	Issuer      Hex8   `json:"issuer"` // of file 0015
	Number      string `json:"payment_token"`
	UD          Hex8   `json:"ud"` // use descriptor of the slot
	Rand        Hex4   `json:"rand"`
	OfflineSeq  uint16 `json:"offline_seq"`
	Amount      uint32 `json:"amount"`   // fen
	TxnType     uint8  `json:"txn_type"` // 5, 6 or 9
	TermSeq     uint32 `json:"term_seq"`
	Date        Date   `json:"date"`
	Time        Time   `json:"time"`
	KeyVersion  uint8  `json:"key_version"`
	AlgorithmID uint8  `json:"algorithm_id"`
	Balance     uint32 `json:"balance"` // fen, as the phone answered it
	MAC1        Hex4   `json:"mac1"`
	MAC2        Hex4   `json:"mac2"`
	TAC         Hex4   `json:"tac"`
	ListVersion uint64 `json:"list_version"`     // deny list the terminal held
	Failed      bool   `json:"failed,omitempty"` // the terminal refused it after the phone had answered: no service was given
}

var tap = table[Tap]{
	{"term_id", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.TermID) }},
	{"issuer", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.Issuer) }},
	{"payment_token", must, func(d *decoder, v *Tap) *FieldError { return digitText(d, &v.Number, 13, 19) }},
	{"ud", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.UD) }},
	{"rand", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.Rand) }},
	{"offline_seq", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.OfflineSeq) }},
	{"amount", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.Amount) }},
	{"txn_type", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.TxnType) }},
	{"term_seq", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.TermSeq) }},
	{"date", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.Time) }},
	{"key_version", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.KeyVersion) }},
	{"algorithm_id", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.AlgorithmID) }},
	{"balance", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.Balance) }},
	{"mac1", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.MAC1) }},
	{"mac2", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.MAC2) }},
	{"tac", must, func(d *decoder, v *Tap) *FieldError { return parse(d, &v.TAC) }},
	{"list_version", must, func(d *decoder, v *Tap) *FieldError { return unsigned(d, &v.ListVersion) }},
	{"failed", may, func(d *decoder, v *Tap) *FieldError { return truth(d, &v.Failed) }},
}

// Taps is the body of POST /v1/terminals/{terminal}/taps: 1 to 500 taps.
type Taps struct {
	Taps     []Tap `json:"taps"`
	MayDefer bool  `json:"may_defer,omitempty"` // the reader keeps a tap that is answered DEFERRED, and sends it again later
}

var taps = table[Taps]{
	{"taps", must, func(d *decoder, v *Taps) *FieldError { return list(d, &v.Taps, MaxRecords, tap.read) }},
	{"may_defer", may, func(d *decoder, v *Taps) *FieldError { return truth(d, &v.MayDefer) }},
}

func (q *Taps) read(d *decoder) *FieldError { return taps.read(d, q) }

// TapResult is what became of one tap.
type TapResult struct {
	TapID   string `json:"tap_id"`
	Outcome string `json:"outcome"`          // POSTED, DUPLICATE, REPLAY, FORKED, REJECTED, DEFERRED
	Reason  string `json:"reason,omitempty"` // for what was not posted
}

// TapResults is the answer to [Taps], in the same order.
type TapResults struct {
	Results []TapResult `json:"results"`
}
