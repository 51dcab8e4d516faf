// Package load moves money between an account and a physical card, so that no
// answer that is lost makes money or loses any.
//
// A card and its account cannot be changed in one step. So the account is
// debited, and that is durable, before the order that credits the card (MAC2) is
// answered; what became of the order is learned from the card alone: its TAC,
// or, when that is lost, what it shows of its online counter and balance the
// next time it is initialised. Until then the money is on its way. An order under one
// value of a card's counter is taken by the card once at most, so it may be given
// out again as often as it is asked for.
package load

import (
	"encoding/base32"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Sentinels.
var (
	// ErrUnknown reports a load that does not exist, or another requestor's.
	ErrUnknown = fault.New(fault.LoadUnknown, "no such load")
	// ErrCounter reports that the card's counter value belongs to another order
	// that was not reversed.
	ErrCounter = fault.New(fault.LoadState, "another order stands under this value of the card's online counter")
	// ErrReversed reports an order that was reversed, asked for again.
	ErrReversed = fault.New(fault.LoadState, "the order was reversed: initialise the card anew")
	// ErrCard reports a load that is another card's.
	ErrCard = fault.New(fault.Refused, "cryptogram refused")
	// ErrChanged reports a load that was ordered anew while it was looked at.
	ErrChanged = fault.New(fault.LoadState, "the load was ordered anew meanwhile")
	// ErrMisses reports a load about which too much was said that did not hold.
	ErrMisses = fault.New(fault.LoadState, "too many proofs of this load did not hold: no more are looked at")
)

// Kind is what is ordered.
type Kind string

// Kinds.
const (
	Credit    Kind = "LOAD"      // account to card
	Debit     Kind = "UNLOAD"    // card to account, of its electronic deposit
	Overdraft Kind = "OVERDRAFT" // a new overdraft limit of the deposit; no money of the account moves
)

// Order is what a card was initialised for, and what it is ordered to do.
type Order struct {
	Kind     Kind
	Account  token.WalletID
	Rand     [4]byte // the card's
	Seq      uint16  // the card's online counter
	Balance  uint32  // fen, before
	Amount   uint32  // fen; 0 for an overdraft limit
	OldLimit cryptogram.Limit
	NewLimit cryptogram.Limit
	Type     cryptogram.Type // 1 or 2 for a load; else it follows from Kind
	Terminal [6]byte
	At       cryptogram.DateTime // the host's date and time
}

// Purse says which of a card's two purses, and so which of its online counters,
// an order is about.
type Purse byte

// Purses.
const (
	Deposit Purse = 1
	EPurse  Purse = 2
)

// Purse returns the purse of o.
func (o Order) Purse() Purse {
	if o.Kind == Credit && o.Type == cryptogram.LoadPurse {
		return EPurse
	}
	return Deposit
}

// Validate reports whether the fields can belong to one order.
func (o Order) Validate() error {
	if !o.Account.Valid() {
		return fmt.Errorf("%w: no account", cryptogram.ErrMalformed)
	}
	if o.Amount == 0 != (o.Kind == Overdraft) {
		return fmt.Errorf("%w: an amount above 0 is needed", cryptogram.ErrTransaction)
	}
	switch o.Kind {
	case Credit:
		return o.credit().Validate()
	case Debit:
		return o.debit().Validate()
	case Overdraft:
		return o.overdraft().Validate()
	}
	return fmt.Errorf("%w: no such kind of order", cryptogram.ErrMalformed)
}

func (o Order) credit() cryptogram.Load {
	return cryptogram.Load{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, Amount: o.Amount, Type: o.Type, Terminal: o.Terminal, At: o.At}
}

func (o Order) debit() cryptogram.Unload {
	return cryptogram.Unload{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, Amount: o.Amount, Terminal: o.Terminal, At: o.At}
}

func (o Order) overdraft() cryptogram.Overdraft {
	return cryptogram.Overdraft{Rand: o.Rand, Seq: o.Seq, Balance: o.Balance, OldLimit: o.OldLimit, NewLimit: o.NewLimit,
		Terminal: o.Terminal, At: o.At}
}

// after is the balance that the card shows once it has obeyed.
func (o Order) after() uint32 {
	switch o.Kind {
	case Credit:
		return o.Balance + o.Amount
	case Debit:
		return o.Balance - o.Amount
	}
	return o.overdraft().NewBalance()
}

// same reports whether o and p are one initialisation of a card, ordered the same.
func (o Order) same(p Order) bool {
	o.At = p.At // the host's, and given back
	return o == p
}

// alike reports whether o and p order the same, perhaps of two initialisations.
func (o Order) alike(p Order) bool {
	return o.Kind == p.Kind && o.Account == p.Account && o.Amount == p.Amount && o.NewLimit == p.NewLimit && o.Type == p.Type
}

// Shown is what a card shows when it is initialised for a load.
type Shown struct {
	Rand    [4]byte
	Seq     uint16
	Balance uint32
	Amount  uint32 // it was initialised with: any
}

// Record is an order and what is known of it. It names the card by a keyed hash:
// serial numbers are not kept.
type Record struct {
	Order
	ID        string // "ld" and 26 characters
	Card      [32]byte
	Requestor token.Requestor
	Client    string // who ordered
	State     State
	// Probe is the terminal number under which the card is initialised to show what
	// became of the order. It is drawn when the order is given out, so a MAC1 over
	// it was made later, and the order's own session was over by then.
	Probe     [6]byte
	Misses    int  // proofs that did not hold
	Decided   bool // somebody decided about its dispute
	Revision  int64
	CreatedAt time.Time
	ChangedAt time.Time // when State last moved
}

// Filter narrows a list of orders.
type Filter struct {
	Account token.WalletID
	State   State  // "": any
	Before  string // the id of the last one that was listed; "": from the newest on
	Limit   int
}

// drawID draws an id of 128 random bits.
func drawID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("drawing the id of a load: %w", err)
	}
	return "ld" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]), nil
}

// ValidID reports whether s looks like the id of a load.
func ValidID(s string) bool {
	return len(s) == 28 && s[:2] == "ld" && token.WalletID("wl"+s[2:]).Valid()
}

// find says what a card that shows s tells of r.
func (r Record) find(s Shown) Finding {
	switch {
	case s.Seq == r.Seq:
		return Undone
	case s.Seq == r.Seq+1 && s.Balance == r.after():
		return Stood
	}
	return Unclear
}

// probe is the initialisation that the card is asked for.
func (r Record) probe(s Shown) cryptogram.Load {
	t := cryptogram.LoadDeposit
	if r.Purse() == EPurse {
		t = cryptogram.LoadPurse
	}
	return cryptogram.Load{Rand: s.Rand, Seq: s.Seq, Balance: s.Balance, Amount: s.Amount, Type: t, Terminal: r.Probe, At: r.At}
}

// Meet says what becomes of a new order when there are records under the same
// card, purse and counter. It returns the record to answer, and whether that
// record is new or changed.
func Meet(known []Record, r Record) (use Record, changed bool, err error) {
	for _, k := range known {
		if k.same(r.Order) {
			if k.State.over() {
				return k, false, ErrReversed
			}
			return k, false, nil
		}
	}
	for _, k := range known {
		switch {
		case k.State.over():
			continue
		case k.State != Started || !k.alike(r.Order) || k.Requestor != r.Requestor:
			return k, false, ErrCounter
		}
		// The card was initialised anew before it obeyed: its new session is the one
		// that can still obey, and the money is on its way already.
		k.Order, k.Probe = r.Order, r.Probe
		return k, true, nil
	}
	return r, true, nil
}

// Move is a step of money.
type Move struct{ From, To ledger.Account }
