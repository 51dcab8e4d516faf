// Package account reconciles what a handset spent offline with what the issuer
// holds: it judges the evidence of taps and posts each slot once.
//
// A tap is one offline purchase. A slot is one counter of one token, with a key of its
// own and a cap, and pays once. Evidence of it can arrive late, twice, in any order,
// from several terminals and altered on the way; which record is posted depends on the
// set of records alone, never on their order. The one exception are tokens whose
// controls bound the sum or the count of their uses: there, of records that do not all
// fit, the first to come is paid. A decision is durable before it is answered.
//
// A wallet has an account. Money for each slot is reserved when the slot is handed out;
// of a holder who may owe, a part of it can be credit. A sync brings phone and account
// in step: reports on slots come in, new slots go out.
//
// Amounts are in fen, the hundredth part of a yuan.
package account

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/token"
)

// Errors of uploads.
var (
	// ErrBatch reports a batch of no taps, or of more than [MaxBatch].
	ErrBatch = fault.New(fault.TooLarge, "a batch holds 1 to 500 taps")
	// ErrNoTap reports a tap that was never accepted under that token, or that
	// does not stand any more.
	ErrNoTap = fault.New(fault.Refused, "no such accepted tap")
)

// MaxBatch is how many taps one upload may hold.
const MaxBatch = 500

// Outcome is what became of one record.
type Outcome string

// Outcomes.
const (
	Posted    Outcome = "POSTED"    // the slot is paid by this record
	Duplicate Outcome = "DUPLICATE" // known already, under the tap id answered
	Replay    Outcome = "REPLAY"    // an altered copy of another record of the slot
	Forked    Outcome = "FORKED"    // the slot's keys paid twice: another record is posted
	Rejected  Outcome = "REJECTED"  // no evidence at all
	Deferred  Outcome = "DEFERRED"  // not judged, and to be sent again later
)

// Reason says more about an outcome. It is empty for a record that is posted and good in
// every respect, whoever is paid for it. A duplicate carries the reason of what it
// duplicates, or that record's outcome when it is not posted.
type Reason string

// Reasons.
const (
	WrongPIN       Reason = "WRONG_PIN"       // MAC2 good, TAC bad: posted, because service was given
	Tamper         Reason = "TAMPER"          // MAC2 bad, TAC good
	Forged         Reason = "FORGED"          // both bad
	Malformed      Reason = "MALFORMED"       // fields that no tap can have
	UnknownToken   Reason = "UNKNOWN_TOKEN"   // nobody held the number at that time
	UnknownKey     Reason = "UNKNOWN_KEY"     // key version or algorithm that is not in use
	OverCap        Reason = "OVER_CAP"        // more than the slot pays
	CounterRange   Reason = "COUNTER_RANGE"   // a slot that was never handed out
	OutsideWindow  Reason = "OUTSIDE_WINDOW"  // before or after the token's day
	Late           Reason = "LATE"            // came too long after the tap
	LateManual     Reason = "LATE_MANUAL"     // kept, but the operator has to claim it
	Burned         Reason = "BURNED"          // the terminal gave no service: nobody pays
	TokenSuspended Reason = "TOKEN_SUSPENDED" // before the tap was made
	TokenDeleted   Reason = "TOKEN_DELETED"   // before the tap was made
	OtherOperator  Reason = "OTHER_OPERATOR"  // the terminal is registered for somebody else
	Disputed       Reason = "DISPUTED"        // posted, but two say that they gave service: neither is paid yet
	NotAllowed     Reason = "NOT_ALLOWED"     // by the token's controls; which of them is in the audit record
	Unreadable     Reason = "UNREADABLE"      // deferred: something that is stored for it cannot be read
)

// Result is the answer to one record.
type Result struct {
	TapID   string // of the record; empty when it was rejected or deferred
	Outcome Outcome
	Reason  Reason
	Control string // of NotAllowed: which control refused. For the record, never for the caller
	Copied  bool   // an altered copy that no honest reader makes: counted as a guess. Never for the caller
}

// Good reports whether the record stands as posted and nothing speaks against
// it: only then does it prove a payment.
func (r Result) Good() bool {
	return (r.Outcome == Posted || r.Outcome == Duplicate) && (r.Reason == "" || r.Reason == Disputed)
}

// Tokens is what this package needs of the vault.
type Tokens interface {
	// ByNumber returns the token that held number n at the moment at. An error
	// of kind [fault.TokenUnknown] says that none did.
	ByNumber(ctx context.Context, n token.Number, at time.Time) (token.Token, error)
	// Move compares and swaps the state; an error of kind [fault.TokenState]
	// says that the token was not in from any more.
	Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error)
	// Token returns a token; an error of kind [fault.TokenUnknown] says that there
	// is none.
	Token(ctx context.Context, ref token.Ref) (token.Token, error)
	// TakeCounters returns the first of n consecutive counters. They are spent for
	// good when it returns, whatever happens next.
	TakeCounters(ctx context.Context, ref token.Ref, n int) (first uint16, err error)
	// Change is Move for who says on whose behalf.
	Change(ctx context.Context, c token.Change, caller string, a access.Attempt) (token.Token, error)
}

// Journal keeps evidence. Safe for concurrent use.
type Journal interface {
	// Record makes the evidence and the refusals of one upload durable, all or
	// nothing, and returns one result for each piece of evidence, in order. A
	// slot has at most one posted record at any time, whoever else records.
	// When it returns an error the caller does not know whether anything was
	// kept; recording the same again is harmless.
	Record(ctx context.Context, evidence []Evidence, refusals []Refusal) ([]Result, error)
	// Entry returns a record of a token by its tap id, or [ErrNoTap].
	Entry(ctx context.Context, ref token.Ref, tapID string) (Entry, error)
	// Spend counts a use without a tap, once for each id of a token: it is
	// durable when Spend returns "". Otherwise it returns the reason why the
	// use is not allowed, and counts nothing.
	Spend(ctx context.Context, ref token.Ref, id string, b Bounds) (reason string, err error)
}

// Devices is what this package needs of those who judge devices.
type Devices interface {
	// Distrust takes a wallet's device down by one tier until it is attested anew. It may
	// be repeated, and does nothing to a device that the wallet does not have.
	Distrust(ctx context.Context, w token.WalletID, id token.DeviceID) error
	// Enrolled reports whether a wallet has a device: a phone or a secure element.
	Enrolled(ctx context.Context, w token.WalletID, id token.DeviceID) (bool, error)
}

// Config is what a [Service] is made of. Fields without a default are required.
type Config struct {
	Tokens  Tokens
	Keys    SlotKeys
	Journal Journal
	Gate    audit.Gate

	Realm       string         // realm of the slot masters
	KeyVersions []byte         // slot key versions in use, as handsets answer them
	Versions    func() []byte  // the same, while key ceremonies change them; nil: KeyVersions always
	AlgorithmID byte           // that goes with them
	Zone        *time.Location // in which terminals write dates and times

	// Places says what is known of where a terminal, or a group of them, stands.
	// A control on what is not known refuses.
	Places map[string]Place

	// Owners says under which name the records of a terminal come, by its number.
	// Under other names they are refused. Of a terminal that is not in it, a record
	// that comes under two names is paid to neither.
	Owners map[[6]byte]string

	// Book keeps wallets. Without it there are none, and every token is judged by
	// its records alone.
	Book   Book
	PINs   PINTries  // nil: nobody enters PINs online
	Lists  Freshness // nil: every terminal's deny list is new enough
	Estate Estate    // nil: nobody knows how far terminals have uploaded
	Loads  Loads     // nil: there are no orders to cards
	// Devices are trusted less after a sign of fraud, and tokens are bound to those of
	// their wallet only; nil: none is known, and a token is bound to any.
	Devices Devices
	// Guesses bounds who shows records whose MAC2 does not hold; nil: nothing does.
	Guesses *guess.Guard
	Rand    io.Reader    // draws ids; nil: crypto/rand
	Log     *slog.Logger // is told of records that are deferred; nil: nobody is

	Skew time.Duration    // tolerance for terminals' clocks; 0: 120 s
	Late time.Duration    // how long after a tap its evidence is taken; 0: 30 days
	Now  func() time.Time // nil: time.Now
	// Sure is the moment that has come by every clock there is: money is given back by
	// it, because that is not undone when a clock is mended. Nil: Now.
	Sure func(ctx context.Context) (time.Time, error)
}

// Service judges evidence. Safe for concurrent use.
type Service struct {
	cfg      Config
	deferred atomic.Uint64
}

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Tokens == nil || c.Keys == nil || c.Journal == nil || c.Gate.Recorder == nil || c.Zone == nil {
		return nil, errors.New("configuring accounts: tokens, keys, journal, gate and zone are required")
	}
	if c.Realm == "" || len(c.KeyVersions) == 0 {
		return nil, errors.New("configuring accounts: no realm or no key version of slots")
	}
	if c.Versions == nil {
		c.Versions = func() []byte { return c.KeyVersions }
	}
	if c.Skew == 0 {
		c.Skew = 120 * time.Second
	}
	if c.Late == 0 {
		c.Late = 30 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sure == nil {
		c.Sure = func(context.Context) (time.Time, error) { return c.Now(), nil }
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: c}, nil
}
