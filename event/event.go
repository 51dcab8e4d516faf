// Package event names what happens to tokens and wallets, for those who are told
// of it: the requestor's webhook, and whoever reads the list of events.
//
// An event says that something happened and to which of them, never why a
// verification failed, and never a card number or a token number.
package event

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Type says what happened. Its text is part of the API.
type Type string

// Types, one for each thing that can happen to a token or to a wallet.
const (
	Issued       Type = "token.issued"        // the number exists
	Decided      Type = "token.decided"       // the card's issuer approved, declined or asks for more; data: decision
	Delivered    Type = "token.delivered"     // its keys were handed to a device
	Activated    Type = "token.activated"     // the device acknowledged or paid
	Provisioned  Type = "token.provisioned"   // the requestor's word on how provisioning went; data: result, reason
	Suspended    Type = "token.suspended"     // data: suspender
	Resumed      Type = "token.resumed"       // data: suspender; the state says whether another one still holds on
	Updated      Type = "token.updated"       // attributes changed; data: which
	Renewed      Type = "token.renewed"       // a next token exists; data: renewed_by
	CardReplaced Type = "token.card-replaced" // the card behind it has a new number or expiry date
	Expired      Type = "token.expired"
	Deleted      Type = "token.deleted"

	WalletOpened     Type = "wallet.opened"
	WalletRestricted Type = "wallet.restricted" // no new slots until an online PIN and a clean sync; data: reason
	WalletSuspended  Type = "wallet.suspended"  // data: reason
	WalletRestored   Type = "wallet.restored"
	WalletClosed     Type = "wallet.closed"
	PaidOut          Type = "wallet.paid_out"         // of a closed wallet: what its holder is to be given; data: amount
	SyncRequested    Type = "wallet.sync_requested"   // its phone holds more than the account now backs
	ChargeRequested  Type = "wallet.charge_requested" // debts are to be charged to its card, none twice; data: amount
	CardLoad         Type = "wallet.card_load"        // an order to a physical card; data: load, kind, state, amount; decision, if somebody decided
	CaseOpened       Type = "case.opened"             // data: case_id, kind
)

// Types lists every type.
var Types = []Type{Issued, Decided, Delivered, Activated, Provisioned, Suspended, Resumed, Updated, Renewed,
	CardReplaced, Expired, Deleted, WalletOpened, WalletRestricted, WalletSuspended, WalletRestored, WalletClosed, PaidOut,
	SyncRequested, ChargeRequested, CardLoad, CaseOpened}

// ErrInvalid reports an event that may not be told: a mistake of the program
// that made it.
var ErrInvalid = fault.New(fault.Internal, "an event is not fit to be told")

// ErrAhead reports a position that no event has had: whoever stands there was
// told of events that the database no longer knows, since it was put back to an
// earlier day. To wait there would miss what takes their places.
var ErrAhead = fault.New(fault.Malformed, "no event stands at this position: the list ends before it")

// Event is one thing that happened to one token or to one wallet, its subject.
type Event struct {
	ID        string // "ev" and 26 characters, drawn by the outbox; the same each time the event is told
	Type      Type
	Ref       token.Ref      // "" when it happened to a wallet
	Wallet    token.WalletID // "" when it happened to a token
	Requestor token.Requestor
	At        time.Time         // zero: when it is put into the outbox
	Data      map[string]string // such as state, decision, suspender; up to 16 entries
	// Unreadable says that what is kept of the event cannot be read: Data, and At where
	// that is no moment, are left out.
	Unreadable bool

	// Seq counts the events of one subject from 1, without a gap. The outbox sets
	// it.
	Seq int64
	// Position orders the events of all subjects. It is set once the event is
	// durable, so that whoever has read up to a position has missed nothing
	// before it; 0 until then.
	Position int64
}

// Subject is the token or the wallet that e happened to: both kinds of names
// tell themselves apart.
func (e Event) Subject() string { return string(e.Ref) + string(e.Wallet) }

// Filter narrows a list of events; a zero field does not.
type Filter struct {
	Requestor token.Requestor
	Ref       token.Ref
	Wallet    token.WalletID
}

// Matches reports whether f lets e through.
func (f Filter) Matches(e Event) bool {
	return (f.Requestor == "" || f.Requestor == e.Requestor) && (f.Ref == "" || f.Ref == e.Ref) &&
		(f.Wallet == "" || f.Wallet == e.Wallet)
}

// Bounds of the data.
const (
	maxEntries = 16
	maxName    = 32
	maxValue   = 200
)

// Check refuses an event that names no subject, or whose data could hold what no
// event may: text is short and printable, and no value could be a card number.
func (e Event) Check() error {
	if !slices.Contains(Types, e.Type) {
		return fmt.Errorf("%w: its type is unknown", ErrInvalid)
	}
	if ofWallet := e.Ref == "" && e.Wallet.Valid(); ofWallet != e.Type.ofWallet() || !ofWallet && (!e.Ref.Valid() || e.Wallet != "") {
		return fmt.Errorf("%w: it names no subject of its kind", ErrInvalid)
	}
	if _, err := token.ParseRequestor(string(e.Requestor)); err != nil {
		return fmt.Errorf("%w: it names no requestor", ErrInvalid)
	}
	if len(e.Data) > maxEntries {
		return fmt.Errorf("%w: too much data", ErrInvalid)
	}
	for name, value := range e.Data {
		if !isName(name) || !isValue(value) {
			return fmt.Errorf("%w: its data is not short printable text", ErrInvalid)
		}
	}
	return nil
}

// ofWallet reports whether t happens to wallets.
func (t Type) ofWallet() bool { return !strings.HasPrefix(string(t), "token.") }

func isName(s string) bool {
	for i := range len(s) {
		if (s[i] < 'a' || s[i] > 'z') && s[i] != '_' && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxName && s[0] >= 'a'
}

func isValue(s string) bool {
	digits := 0
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
		if s[i] >= '0' && s[i] <= '9' {
			digits++
		}
	}
	return len(s) <= maxValue && !(digits == len(s) && digits >= 12)
}
