// Package fault names the ways a request can fail, so that the inside and the
// edge agree on them.
//
// A package declares its sentinels with [New]; callers test them with
// [errors.Is]; the edge asks [KindOf] and answers one problem per kind.
package fault

import (
	"errors"
	"time"
)

// Kind is a way to fail. Its text is the stable end of the problem type that
// the HTTP API answers.
type Kind string

// Kinds.
const (
	Internal        Kind = "internal"
	Malformed       Kind = "malformed"       // the request cannot be read, or a field is not what it should be
	TooLarge        Kind = "too-large"       // body, header or batch over its bound
	MediaType       Kind = "media-type"      // not the content type that the operation takes
	NoRoute         Kind = "no-such-route"   // no operation has this path
	Method          Kind = "method"          // the path exists, the method does not
	Unauthenticated Kind = "unauthenticated" // no caller, or one that cannot be believed
	Denied          Kind = "denied"          // a known caller without the right
	Refused         Kind = "refused"         // a verification that did not hold; outside, all look alike
	Overloaded      Kind = "overloaded"      // come back later
	TooFast         Kind = "too-fast"        // this caller has asked for as much as it may

	TokenUnknown    Kind = "token-unknown"
	TokenState      Kind = "token-state"   // the token's state refuses this verb
	TokenExpired    Kind = "token-expired" // its window has closed
	TokenFuture     Kind = "token-future"  // its window has not opened
	TokenSuspended  Kind = "token-suspended"
	CardExpired     Kind = "card-expired"
	CardIsToken     Kind = "card-is-token" // the number given as a card number lies in a token range
	CardUnknown     Kind = "card-unknown"  // no token was made for a card of this number
	CardKnown       Kind = "card-known"    // the replacement is a card with tokens of its own
	CardReplaced    Kind = "card-replaced" // the card of this number was replaced by another
	NoRange         Kind = "no-range"      // no token range for this length of number
	RangeExhausted  Kind = "range-exhausted"
	DayOutOfReach   Kind = "day-out-of-reach" // a service day that is over or too far ahead
	CounterReplayed Kind = "counter-replayed" // a card's transaction counter was used before
	CounterJumped   Kind = "counter-jumped"   // or is too far from the last one
	CounterSpent    Kind = "counter-spent"    // no counters are left under this token
	KeyReused       Kind = "idempotency-key-reused"
	Intake          Kind = "intake"            // an enciphered card number that the intake key does not open
	NoClientKey     Kind = "no-encryption-key" // an answer to encipher, for a caller that registered no key
	RealmUnknown    Kind = "realm-unknown"     // no such realm of cards, or it has no such key
	SlotToken       Kind = "slot-token"        // a stateless check was asked for a phone's slot token
	ProfileUnknown  Kind = "profile-unknown"   // the issuer uses no such cryptogram profile
	ListTooOld      Kind = "list-too-old"      // no delta leads on from that version of the deny list
	TransactionBad  Kind = "transaction-bad"   // fields that cannot belong to one transaction

	WalletUnknown Kind = "wallet-unknown" // no such wallet, or another requestor's
	WalletState   Kind = "wallet-state"   // the wallet's state refuses this
	LoadUnknown   Kind = "load-unknown"   // no such load of a card, or another requestor's
	LoadState     Kind = "load-state"     // the load's state, or the card's counter, refuses this
	FundsShort    Kind = "funds-short"    // the account does not hold enough
	FundsReserved Kind = "funds-reserved" // it would, but what is there is held for offline payments

	ApprovalNeeded  Kind = "approval-needed"  // others have to approve this request first
	ApprovalUnknown Kind = "approval-unknown" // no such approval, or another caller's
	ApprovalState   Kind = "approval-state"   // it is not waiting any more, or is of another request

	HSMUnavailable Kind = "hsm-unavailable" // absent, locked, or its session was lost
	HSMKey         Kind = "hsm-key"         // no key, two keys, or a key with wrong attributes
	StoreDown      Kind = "store-unavailable"
	StoreReadOnly  Kind = "store-read-only"
	StoreFull      Kind = "store-full"
	AuditDown      Kind = "audit-unavailable" // what must be recorded could not be
)

// Kinds lists every kind, so that the edge's table can be checked for holes.
var Kinds = []Kind{Internal, Malformed, TooLarge, MediaType, NoRoute, Method, Unauthenticated, Denied, Refused,
	Overloaded, TooFast, TokenUnknown, TokenState, TokenExpired, TokenFuture, TokenSuspended, CardExpired, CardIsToken,
	CardUnknown, CardKnown, CardReplaced,
	NoRange, RangeExhausted, DayOutOfReach, CounterSpent, KeyReused, Intake, NoClientKey, RealmUnknown, SlotToken, TransactionBad, ProfileUnknown, CounterReplayed, CounterJumped, ListTooOld,
	WalletUnknown, WalletState, LoadUnknown, LoadState, FundsShort, FundsReserved, ApprovalNeeded, ApprovalUnknown, ApprovalState,
	HSMUnavailable, HSMKey, StoreDown, StoreReadOnly, StoreFull, AuditDown}

// sentinel is an error of one kind; two sentinels are never equal.
type sentinel struct {
	kind Kind
	text string
}

func (s *sentinel) Error() string { return s.text }

// New declares a sentinel. Its text is for logs and for the reader of the
// problem: lower case, no full stop, no digits of cards, tokens or keys.
func New(k Kind, text string) error { return &sentinel{k, text} }

// KindOf returns the kind of the outermost sentinel that err wraps, or
// [Internal].
func KindOf(err error) Kind {
	var s *sentinel
	if errors.As(err, &s) {
		return s.kind
	}
	return Internal
}

// Text returns the text of the outermost sentinel that err wraps, which is fit
// for a caller to read, or "".
func Text(err error) string {
	var s *sentinel
	if errors.As(err, &s) {
		return s.text
	}
	return ""
}

// waiting is an error that passes by itself.
type waiting struct {
	error
	wait time.Duration
}

func (w waiting) Unwrap() error { return w.error }

// After says of an error when it will be worth to ask again.
func After(err error, wait time.Duration) error { return waiting{err, wait} }

// Wait returns what [After] said of err, or 0.
func Wait(err error) time.Duration {
	var w waiting
	if errors.As(err, &w) {
		return w.wait
	}
	return 0
}
