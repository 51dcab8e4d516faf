package wire

// Card names a physical card's key: the realm whose masters it belongs to, and
// what the card answered. Realms without diversification ignore issuer and asn.
type Card struct {
	Realm       string `json:"realm"`
	Issuer      Hex8   `json:"issuer,omitzero"` // bytes 0 to 7 of file 0015
	ASN         Hex10  `json:"asn,omitzero"`    // bytes 10 to 19 of file 0015
	KeyVersion  uint8  `json:"key_version"`
	AlgorithmID uint8  `json:"algorithm_id"`
}

var card = table[Card]{
	{"realm", must, func(d *decoder, v *Card) *FieldError { return name(d, &v.Realm, 32) }},
	{"issuer", may, func(d *decoder, v *Card) *FieldError { return parse(d, &v.Issuer) }},
	{"asn", may, func(d *decoder, v *Card) *FieldError { return parse(d, &v.ASN) }},
	{"key_version", must, func(d *decoder, v *Card) *FieldError { return unsigned(d, &v.KeyVersion) }},
	{"algorithm_id", must, func(d *decoder, v *Card) *FieldError { return unsigned(d, &v.AlgorithmID) }},
}

// Purchase is a purchase by a physical card, and the body of
// POST /v1/cryptograms/purchase/mac1.
type Purchase struct {
	Card       Card   `json:"card"`
	Rand       Hex4   `json:"rand"`        // the card's, from INITIALIZE
	OfflineSeq uint16 `json:"offline_seq"` // before it grew
	Amount     uint32 `json:"amount"`      // fen
	TxnType    uint8  `json:"txn_type"`    // 4, 5, 6 or 9
	TermID     Hex6   `json:"term_id"`
	TermSeq    uint32 `json:"term_seq"`
	Date       Date   `json:"date"`
	Time       Time   `json:"time"`
	AuthCode   *Hex9  `json:"auth_code,omitempty"` // realms whose MAC1 takes one
}

var purchase = table[Purchase]{
	{"card", must, func(d *decoder, v *Purchase) *FieldError { return card.read(d, &v.Card) }},
	{"rand", must, func(d *decoder, v *Purchase) *FieldError { return parse(d, &v.Rand) }},
	{"offline_seq", must, func(d *decoder, v *Purchase) *FieldError { return unsigned(d, &v.OfflineSeq) }},
	{"amount", must, func(d *decoder, v *Purchase) *FieldError { return unsigned(d, &v.Amount) }},
	{"txn_type", must, func(d *decoder, v *Purchase) *FieldError { return unsigned(d, &v.TxnType) }},
	{"term_id", must, func(d *decoder, v *Purchase) *FieldError { return parse(d, &v.TermID) }},
	{"term_seq", must, func(d *decoder, v *Purchase) *FieldError { return unsigned(d, &v.TermSeq) }},
	{"date", must, func(d *decoder, v *Purchase) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *Purchase) *FieldError { return parse(d, &v.Time) }},
	{"auth_code", may, func(d *decoder, v *Purchase) *FieldError { return optional(d, &v.AuthCode) }},
}

func (q *Purchase) read(d *decoder) *FieldError { return purchase.read(d, q) }

// PurchaseVerify is the body of POST /v1/cryptograms/purchase/verify. MAC1 and
// TAC are checked too where they are given.
type PurchaseVerify struct {
	Purchase
	MAC2 Hex4  `json:"mac2"`
	MAC1 *Hex4 `json:"mac1,omitempty"`
	TAC  *Hex4 `json:"tac,omitempty"`
}

var purchaseVerify = within(purchase, func(v *PurchaseVerify) *Purchase { return &v.Purchase },
	field[PurchaseVerify]{"mac2", must, func(d *decoder, v *PurchaseVerify) *FieldError { return parse(d, &v.MAC2) }},
	field[PurchaseVerify]{"mac1", may, func(d *decoder, v *PurchaseVerify) *FieldError { return optional(d, &v.MAC1) }},
	field[PurchaseVerify]{"tac", may, func(d *decoder, v *PurchaseVerify) *FieldError { return optional(d, &v.TAC) }},
)

func (q *PurchaseVerify) read(d *decoder) *FieldError { return purchaseVerify.read(d, q) }

// PurchaseBatch is the body of POST /v1/cryptograms/purchase/verify/batch: 1 to
// 500 purchases.
type PurchaseBatch struct {
	Purchases []PurchaseVerify `json:"purchases"`
}

var purchaseBatch = table[PurchaseBatch]{
	{"purchases", must, func(d *decoder, v *PurchaseBatch) *FieldError {
		return list(d, &v.Purchases, MaxRecords, func(d *decoder, q *PurchaseVerify) *FieldError { return q.read(d) })
	}},
}

func (q *PurchaseBatch) read(d *decoder) *FieldError { return purchaseBatch.read(d, q) }

// PurchaseResult is what became of one purchase of a batch: it holds, or there
// is a problem.
type PurchaseResult struct {
	Verified bool     `json:"verified,omitempty"`
	Problem  *Problem `json:"problem,omitempty"`
}

// PurchaseResults is the answer to a batch of purchases, in the same order.
type PurchaseResults struct {
	Results []PurchaseResult `json:"results"`
}

// PurchaseRecord is what the TAC of a purchase covers.
type PurchaseRecord struct {
	Amount  uint32 `json:"amount"`   // fen
	TxnType uint8  `json:"txn_type"` // 4, 5, 6 or 9
	TermID  Hex6   `json:"term_id"`
	TermSeq uint32 `json:"term_seq"`
	Date    Date   `json:"date"`
	Time    Time   `json:"time"`
}

var purchaseRecord = table[PurchaseRecord]{
	{"amount", must, func(d *decoder, v *PurchaseRecord) *FieldError { return unsigned(d, &v.Amount) }},
	{"txn_type", must, func(d *decoder, v *PurchaseRecord) *FieldError { return unsigned(d, &v.TxnType) }},
	{"term_id", must, func(d *decoder, v *PurchaseRecord) *FieldError { return parse(d, &v.TermID) }},
	{"term_seq", must, func(d *decoder, v *PurchaseRecord) *FieldError { return unsigned(d, &v.TermSeq) }},
	{"date", must, func(d *decoder, v *PurchaseRecord) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *PurchaseRecord) *FieldError { return parse(d, &v.Time) }},
}

// LoadRecord is what the TAC of a load covers.
type LoadRecord struct {
	OnlineSeq uint16 `json:"online_seq"` // before it grew
	Balance   uint32 `json:"balance"`    // fen, before the load
	Amount    uint32 `json:"amount"`     // fen
	TxnType   uint8  `json:"txn_type"`   // 1 or 2
	TermID    Hex6   `json:"term_id"`
	Date      Date   `json:"date"`
	Time      Time   `json:"time"`
}

var loadRecord = table[LoadRecord]{
	{"online_seq", must, func(d *decoder, v *LoadRecord) *FieldError { return unsigned(d, &v.OnlineSeq) }},
	{"balance", must, func(d *decoder, v *LoadRecord) *FieldError { return unsigned(d, &v.Balance) }},
	{"amount", must, func(d *decoder, v *LoadRecord) *FieldError { return unsigned(d, &v.Amount) }},
	{"txn_type", must, func(d *decoder, v *LoadRecord) *FieldError { return unsigned(d, &v.TxnType) }},
	{"term_id", must, func(d *decoder, v *LoadRecord) *FieldError { return parse(d, &v.TermID) }},
	{"date", must, func(d *decoder, v *LoadRecord) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *LoadRecord) *FieldError { return parse(d, &v.Time) }},
}

// OverdraftRecord is what the TAC of an overdraft-limit update covers.
type OverdraftRecord struct {
	OnlineSeq uint16 `json:"online_seq"` // before it grew
	Balance   uint32 `json:"balance"`    // fen, before the update
	OldLimit  uint32 `json:"old_limit"`  // fen, at most FFFFFF
	NewLimit  uint32 `json:"new_limit"`  // fen, at most FFFFFF
	TermID    Hex6   `json:"term_id"`
	Date      Date   `json:"date"`
	Time      Time   `json:"time"`
}

var overdraftRecord = table[OverdraftRecord]{
	{"online_seq", must, func(d *decoder, v *OverdraftRecord) *FieldError { return unsigned(d, &v.OnlineSeq) }},
	{"balance", must, func(d *decoder, v *OverdraftRecord) *FieldError { return unsigned(d, &v.Balance) }},
	{"old_limit", must, func(d *decoder, v *OverdraftRecord) *FieldError { return limit(d, &v.OldLimit) }},
	{"new_limit", must, func(d *decoder, v *OverdraftRecord) *FieldError { return limit(d, &v.NewLimit) }},
	{"term_id", must, func(d *decoder, v *OverdraftRecord) *FieldError { return parse(d, &v.TermID) }},
	{"date", must, func(d *decoder, v *OverdraftRecord) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *OverdraftRecord) *FieldError { return parse(d, &v.Time) }},
}

// limit reads an overdraft limit, which has three bytes.
func limit(d *decoder, v *uint32) *FieldError {
	n, err := d.number(0xFFFFFF)
	*v = uint32(n)
	return err
}

// TACVerify is the body of POST /v1/cryptograms/tac/verify: a card and exactly
// one record.
type TACVerify struct {
	Card      Card             `json:"card"`
	TAC       Hex4             `json:"tac"`
	Purchase  *PurchaseRecord  `json:"purchase,omitempty"`
	Load      *LoadRecord      `json:"load,omitempty"`
	Overdraft *OverdraftRecord `json:"overdraft,omitempty"`
}

var tacVerify = table[TACVerify]{
	{"card", must, func(d *decoder, v *TACVerify) *FieldError { return card.read(d, &v.Card) }},
	{"tac", must, func(d *decoder, v *TACVerify) *FieldError { return parse(d, &v.TAC) }},
	{"purchase", may, func(d *decoder, v *TACVerify) *FieldError {
		v.Purchase = new(PurchaseRecord)
		return purchaseRecord.read(d, v.Purchase)
	}},
	{"load", may, func(d *decoder, v *TACVerify) *FieldError {
		v.Load = new(LoadRecord)
		return loadRecord.read(d, v.Load)
	}},
	{"overdraft", may, func(d *decoder, v *TACVerify) *FieldError {
		v.Overdraft = new(OverdraftRecord)
		return overdraftRecord.read(d, v.Overdraft)
	}},
}

func (q *TACVerify) read(d *decoder) *FieldError {
	if err := tacVerify.read(d, q); err != nil {
		return err
	}
	n := 0
	for _, given := range []bool{q.Purchase != nil, q.Load != nil, q.Overdraft != nil} {
		if given {
			n++
		}
	}
	if n != 1 {
		return wrong("must hold one of purchase, load and overdraft")
	}
	return nil
}

// Load is the body of POST /v1/cryptograms/load: MAC1 is checked, MAC2 made.
type Load struct {
	Card Card `json:"card"`
	Rand Hex4 `json:"rand"`
	LoadRecord
	MAC1 Hex4 `json:"mac1"`
}

var load = within(loadRecord, func(v *Load) *LoadRecord { return &v.LoadRecord },
	field[Load]{"card", must, func(d *decoder, v *Load) *FieldError { return card.read(d, &v.Card) }},
	field[Load]{"rand", must, func(d *decoder, v *Load) *FieldError { return parse(d, &v.Rand) }},
	field[Load]{"mac1", must, func(d *decoder, v *Load) *FieldError { return parse(d, &v.MAC1) }},
)

func (q *Load) read(d *decoder) *FieldError { return load.read(d, q) }

// UnloadRecord is an unload by a physical card.
type UnloadRecord struct {
	Card      Card   `json:"card"`
	Rand      Hex4   `json:"rand"`
	OnlineSeq uint16 `json:"online_seq"` // before it grew
	Balance   uint32 `json:"balance"`    // fen, before the unload
	Amount    uint32 `json:"amount"`     // fen
	TermID    Hex6   `json:"term_id"`
	Date      Date   `json:"date"`
	Time      Time   `json:"time"`
}

var unloadRecord = table[UnloadRecord]{
	{"card", must, func(d *decoder, v *UnloadRecord) *FieldError { return card.read(d, &v.Card) }},
	{"rand", must, func(d *decoder, v *UnloadRecord) *FieldError { return parse(d, &v.Rand) }},
	{"online_seq", must, func(d *decoder, v *UnloadRecord) *FieldError { return unsigned(d, &v.OnlineSeq) }},
	{"balance", must, func(d *decoder, v *UnloadRecord) *FieldError { return unsigned(d, &v.Balance) }},
	{"amount", must, func(d *decoder, v *UnloadRecord) *FieldError { return unsigned(d, &v.Amount) }},
	{"term_id", must, func(d *decoder, v *UnloadRecord) *FieldError { return parse(d, &v.TermID) }},
	{"date", must, func(d *decoder, v *UnloadRecord) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *UnloadRecord) *FieldError { return parse(d, &v.Time) }},
}

// Unload is the body of POST /v1/cryptograms/unload: MAC1 is checked, MAC2
// made.
type Unload struct {
	UnloadRecord
	MAC1 Hex4 `json:"mac1"`
}

var unload = within(unloadRecord, func(v *Unload) *UnloadRecord { return &v.UnloadRecord },
	field[Unload]{"mac1", must, func(d *decoder, v *Unload) *FieldError { return parse(d, &v.MAC1) }},
)

func (q *Unload) read(d *decoder) *FieldError { return unload.read(d, q) }

// UnloadVerify is the body of POST /v1/cryptograms/unload/verify: MAC3 is
// checked.
type UnloadVerify struct {
	UnloadRecord
	MAC3 Hex4 `json:"mac3"`
}

var unloadVerify = within(unloadRecord, func(v *UnloadVerify) *UnloadRecord { return &v.UnloadRecord },
	field[UnloadVerify]{"mac3", must, func(d *decoder, v *UnloadVerify) *FieldError { return parse(d, &v.MAC3) }},
)

func (q *UnloadVerify) read(d *decoder) *FieldError { return unloadVerify.read(d, q) }

// Overdraft is the body of POST /v1/cryptograms/overdraft: MAC1 is checked,
// MAC2 made.
type Overdraft struct {
	Card Card `json:"card"`
	Rand Hex4 `json:"rand"`
	OverdraftRecord
	MAC1 Hex4 `json:"mac1"`
}

var overdraft = within(overdraftRecord, func(v *Overdraft) *OverdraftRecord { return &v.OverdraftRecord },
	field[Overdraft]{"card", must, func(d *decoder, v *Overdraft) *FieldError { return card.read(d, &v.Card) }},
	field[Overdraft]{"rand", must, func(d *decoder, v *Overdraft) *FieldError { return parse(d, &v.Rand) }},
	field[Overdraft]{"mac1", must, func(d *decoder, v *Overdraft) *FieldError { return parse(d, &v.MAC1) }},
)

func (q *Overdraft) read(d *decoder) *FieldError { return overdraft.read(d, q) }

// MAC1 is the answer of POST /v1/cryptograms/purchase/mac1.
type MAC1 struct {
	MAC1 Hex4 `json:"mac1"`
}

// MAC2 is the answer of load, unload and overdraft.
type MAC2 struct {
	MAC2 Hex4 `json:"mac2"`
}

// Verified is the answer of every check that held; one that did not hold is a
// problem.
type Verified struct {
	Verified bool `json:"verified"`
}
