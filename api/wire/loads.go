package wire

import (
	"fmt"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/digits"
)

// CardOrder is what a card was initialised for, and what the host answers it
// with: the part that loads, unloads and limits have in common.
type CardOrder struct {
	Card      Card   `json:"card"`
	Rand      Hex4   `json:"rand"`
	OnlineSeq uint16 `json:"online_seq"` // before it grew
	Balance   uint32 `json:"balance"`    // fen, before
	TermID    Hex6   `json:"term_id"`
	Date      Date   `json:"date"` // the host's
	Time      Time   `json:"time"`
	MAC1      Hex4   `json:"mac1"`
}

var cardOrder = table[CardOrder]{
	{"card", must, func(d *decoder, v *CardOrder) *FieldError { return card.read(d, &v.Card) }},
	{"rand", must, func(d *decoder, v *CardOrder) *FieldError { return parse(d, &v.Rand) }},
	{"online_seq", must, func(d *decoder, v *CardOrder) *FieldError { return unsigned(d, &v.OnlineSeq) }},
	{"balance", must, func(d *decoder, v *CardOrder) *FieldError { return unsigned(d, &v.Balance) }},
	{"term_id", must, func(d *decoder, v *CardOrder) *FieldError { return parse(d, &v.TermID) }},
	{"date", must, func(d *decoder, v *CardOrder) *FieldError { return parse(d, &v.Date) }},
	{"time", must, func(d *decoder, v *CardOrder) *FieldError { return parse(d, &v.Time) }},
	{"mac1", must, func(d *decoder, v *CardOrder) *FieldError { return parse(d, &v.MAC1) }},
}

// CardLoadOrder is the body of POST /v1/accounts/{id}/loads.
type CardLoadOrder struct {
	CardOrder
	Amount  uint32 `json:"amount"`             // fen
	TxnType uint8  `json:"txn_type,omitempty"` // 1 deposit, 2 purse; absent: 2
}

var cardLoadOrder = within(cardOrder, func(v *CardLoadOrder) *CardOrder { return &v.CardOrder },
	field[CardLoadOrder]{"amount", must, func(d *decoder, v *CardLoadOrder) *FieldError { return unsigned(d, &v.Amount) }},
	field[CardLoadOrder]{"txn_type", may, func(d *decoder, v *CardLoadOrder) *FieldError { return unsigned(d, &v.TxnType) }},
)

func (q *CardLoadOrder) read(d *decoder) *FieldError {
	q.TxnType = 2
	return cardLoadOrder.read(d, q)
}

// CardUnloadOrder is the body of POST /v1/accounts/{id}/unloads.
type CardUnloadOrder struct {
	CardOrder
	Amount uint32 `json:"amount"` // fen
}

var cardUnloadOrder = within(cardOrder, func(v *CardUnloadOrder) *CardOrder { return &v.CardOrder },
	field[CardUnloadOrder]{"amount", must, func(d *decoder, v *CardUnloadOrder) *FieldError { return unsigned(d, &v.Amount) }},
)

func (q *CardUnloadOrder) read(d *decoder) *FieldError { return cardUnloadOrder.read(d, q) }

// CardLimitOrder is the body of POST /v1/accounts/{id}/overdrafts.
type CardLimitOrder struct {
	CardOrder
	OldLimit uint32 `json:"old_limit"` // fen, at most FFFFFF
	NewLimit uint32 `json:"new_limit"` // fen, at most FFFFFF
}

var cardLimitOrder = within(cardOrder, func(v *CardLimitOrder) *CardOrder { return &v.CardOrder },
	field[CardLimitOrder]{"old_limit", must, func(d *decoder, v *CardLimitOrder) *FieldError { return limit(d, &v.OldLimit) }},
	field[CardLimitOrder]{"new_limit", must, func(d *decoder, v *CardLimitOrder) *FieldError { return limit(d, &v.NewLimit) }},
)

func (q *CardLimitOrder) read(d *decoder) *FieldError { return cardLimitOrder.read(d, q) }

// CardProof is the body of POST /v1/loads/{load}/confirm: the card's TAC, or its
// MAC3 for an unload.
type CardProof struct {
	Card Card `json:"card"`
	TAC  Hex4 `json:"tac"`
}

var cardProof = table[CardProof]{
	{"card", must, func(d *decoder, v *CardProof) *FieldError { return card.read(d, &v.Card) }},
	{"tac", must, func(d *decoder, v *CardProof) *FieldError { return parse(d, &v.TAC) }},
}

func (q *CardProof) read(d *decoder) *FieldError { return cardProof.read(d, q) }

// CardShown is the body of POST /v1/loads/{load}/reverse: what the card shows
// when it is initialised for a load of any amount under the load's probe_term_id.
type CardShown struct {
	Card      Card   `json:"card"`
	Rand      Hex4   `json:"rand"`
	OnlineSeq uint16 `json:"online_seq"`
	Balance   uint32 `json:"balance"` // fen
	Amount    uint32 `json:"amount"`  // fen, that it was initialised for
	MAC1      Hex4   `json:"mac1"`
}

var cardShown = table[CardShown]{
	{"card", must, func(d *decoder, v *CardShown) *FieldError { return card.read(d, &v.Card) }},
	{"rand", must, func(d *decoder, v *CardShown) *FieldError { return parse(d, &v.Rand) }},
	{"online_seq", must, func(d *decoder, v *CardShown) *FieldError { return unsigned(d, &v.OnlineSeq) }},
	{"balance", must, func(d *decoder, v *CardShown) *FieldError { return unsigned(d, &v.Balance) }},
	{"amount", must, func(d *decoder, v *CardShown) *FieldError { return unsigned(d, &v.Amount) }},
	{"mac1", must, func(d *decoder, v *CardShown) *FieldError { return parse(d, &v.MAC1) }},
}

func (q *CardShown) read(d *decoder) *FieldError { return cardShown.read(d, q) }

// LoadDecision is the body of POST /v1/loads/decisions: what becomes of an order
// that waits in a state. Who decides says why, and where the evidence is kept.
type LoadDecision struct {
	Load     string `json:"load"`
	State    string `json:"state"`    // STARTED, SUSPENSE or DISPUTED: in which it was seen
	Decision string `json:"decision"` // SETTLE or REVERSE
	Reason   string `json:"reason"`
	Evidence string `json:"evidence"`
}

var loadDecision = table[LoadDecision]{
	{"load", must, func(d *decoder, v *LoadDecision) *FieldError { return name(d, &v.Load, 64) }},
	{"state", must, func(d *decoder, v *LoadDecision) *FieldError {
		return choice(d, &v.State, "STARTED", "SUSPENSE", "DISPUTED")
	}},
	{"decision", must, func(d *decoder, v *LoadDecision) *FieldError { return choice(d, &v.Decision, "SETTLE", "REVERSE") }},
	{"reason", must, func(d *decoder, v *LoadDecision) *FieldError { return remark(d, &v.Reason, 128) }},
	{"evidence", must, func(d *decoder, v *LoadDecision) *FieldError { return remark(d, &v.Evidence, 64) }},
}

func (q *LoadDecision) read(d *decoder) *FieldError {
	if err := loadDecision.read(d, q); err != nil {
		return err
	}
	if digits.TooMany(q.Reason, q.Evidence) { // a card number can stand in both
		return &FieldError{Path: "evidence", Text: fmt.Sprintf("must not hold, together with reason, more than %d digits", digits.Most)}
	}
	return nil
}

// remark reads a note that has to say something.
func remark(d *decoder, v *string, high int) *FieldError {
	if err := note(d, v, high); err != nil {
		return err
	}
	if strings.TrimSpace(*v) == "" {
		return wrong("must not be empty")
	}
	return nil
}

// LoadMatter is an order to a card as operators see it, and what was decided of it.
type LoadMatter struct {
	CardLoad
	Requestor string        `json:"token_requestor_id"`
	Purse     uint8         `json:"purse"`   // 1 deposit, 2 purse
	Balance   uint32        `json:"balance"` // fen, of the card before the order
	TermID    Hex6          `json:"term_id"`
	Misses    int           `json:"misses"` // proofs that did not hold
	Waits     bool          `json:"waits"`  // for a decision
	Decisions []LoadDecided `json:"decisions"`
}

// LoadDecided is a decision that was made.
type LoadDecided struct {
	State    string    `json:"state"` // in which the order waited
	Decision string    `json:"decision"`
	Reason   string    `json:"reason"`
	Evidence string    `json:"evidence"`
	Client   string    `json:"client"` // who decided
	At       time.Time `json:"decided_at"`
}

// LoadMatters is a page of GET /v1/loads, the oldest first.
type LoadMatters struct {
	Loads []LoadMatter `json:"loads"`
	Next  string       `json:"next_cursor,omitempty"` // absent on the last page
}

// CardLoad is an order to a card and what is known of it.
type CardLoad struct {
	ID        string    `json:"load_id"`
	Account   string    `json:"account_id"`
	Kind      string    `json:"kind"`  // LOAD, UNLOAD, OVERDRAFT
	State     string    `json:"state"` // STARTED, SETTLED, REVERSED, SUSPENSE, DISPUTED
	Amount    uint32    `json:"amount"`
	NewLimit  uint32    `json:"new_limit,omitempty"`
	OnlineSeq uint16    `json:"online_seq"`
	Date      Date      `json:"date"` // which the card must be given
	Time      Time      `json:"time"`
	MAC2      *Hex4     `json:"mac2,omitempty"` // in the answer to an order only
	Probe     Hex6      `json:"probe_term_id"`
	CreatedAt time.Time `json:"created_at"`
	ChangedAt time.Time `json:"changed_at"`
}

// CardLoads is a page of GET /v1/accounts/{id}/loads, newest first.
type CardLoads struct {
	Loads []CardLoad `json:"loads"`
	Next  string     `json:"next_cursor,omitempty"` // absent on the last page
}
