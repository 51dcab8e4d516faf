// Package detokenize gives back a card number, and only after the token, its
// controls and the evidence of its use have been verified.
//
// The evidence is a tap: the record of one offline purchase, whose MACs prove that the
// token's phone made it. A few callers may ask without it: see [Service.Direct].
// Whatever does not hold, the caller hears the one [ErrRefused]; the precise reason goes
// into the audit record.
//
// [Service.Verify] and [Service.Reveal] are the two steps of [Service.Detokenize]: a
// [Verified] is the only key to a card number, and only Verify makes one.
package detokenize

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Errors of this package.
var (
	// ErrRefused is the one answer to whatever was not verified.
	ErrRefused = fault.New(fault.Refused, "the card number is not given")
	// ErrPurpose reports a purpose that is not one of [Purposes].
	ErrPurpose = fault.New(fault.Malformed, "a purpose is settlement, dispute or authorisation")
	// ErrQuery reports a query that does not name exactly one token and one tap.
	ErrQuery = fault.New(fault.Malformed, "name one token, and one tap that it made")
	// ErrDirect reports a direct query that does not name exactly one token, or names a tap.
	ErrDirect = fault.New(fault.Malformed, "name one token and no tap")
	// ErrBatch reports a batch of no queries, or of more than [MaxBatch].
	ErrBatch = fault.New(fault.TooLarge, "a batch holds 1 to 500 queries")
	// ErrBurst reports more card numbers at once than the caller's bound ever allows.
	ErrBurst = fault.New(fault.TooLarge, "this caller is never given as many card numbers at once: send smaller batches")
	// ErrFast reports a caller whose bound is used up for now; [fault.Wait] says for how long.
	ErrFast = fault.New(fault.TooFast, "this caller has been given as many card numbers as it may for now")
)

// MaxBatch is how many queries one batch may hold.
const MaxBatch = 500

// Purposes for which a card number is given.
const (
	Settlement    = "settlement"
	Dispute       = "dispute"
	Authorisation = "authorisation" // only while the token may still pay
)

// Purposes lists every purpose.
var Purposes = []string{Settlement, Dispute, Authorisation}

// Opener is where card numbers come from. Errors for tokens that do not exist
// are of kind [fault.TokenUnknown].
type Opener interface {
	Sealed(ctx context.Context, ref token.Ref) (token.Standing, token.Sealed, error)
	SealedByNumber(ctx context.Context, n token.Number, at time.Time) (token.Standing, token.Sealed, error)
}

// Evidence judges taps. Errors that say a tap proves nothing are of kind
// [fault.Refused]; all others mean that it could not be judged.
type Evidence interface {
	// Accepted returns a tap that was accepted before under ref.
	Accepted(ctx context.Context, ref token.Ref, tapID string) (account.Tap, error)
	// Judge judges and keeps a tap, and returns the token it belongs to. Where
	// is what the caller knows of the purchase. An error of kind [fault.TooFast]
	// says that the caller showed too many that did not hold.
	Judge(ctx context.Context, c access.Caller, tap account.Tap, where token.Use) (account.Result, token.Token, error)
	// Spend counts a use that no tap proves, once for each id of a token. It
	// returns the reason for the record when the token's controls refuse.
	Spend(ctx context.Context, t token.Standing, use token.Use, id string) (reason string, err error)
}

// Recipients knows to which key answers for a caller are sealed.
type Recipients interface {
	// EncryptionKey returns the public key that a client registered, on P-256,
	// and its id. An error of kind [fault.NoClientKey] says that it has none.
	EncryptionKey(ctx context.Context, client string) (key *ecdsa.PublicKey, id string, err error)
}

// Limiter bounds how many card numbers a caller is given.
type Limiter interface {
	// Take takes n from what a caller may still have. When that is too little it
	// takes nothing and returns how long to wait; a negative time is never.
	Take(ctx context.Context, caller string, n int) (wait time.Duration, err error)
	// Would returns what Take would, and takes nothing.
	Would(ctx context.Context, caller string, n int) (wait time.Duration, err error)
}

// Signer signs results for hosts that check them. The private half stays in
// the HSM.
type Signer struct {
	Public *ecdsa.PublicKey // P-256
	// Sign returns r‖s over digest.
	Sign   func(ctx context.Context, digest [32]byte) ([64]byte, error)
	Issuer string // who speaks, such as https://tapvault.example
}

// Config is what a [Service] is made of. Fields without a default are required.
type Config struct {
	Opener   Opener
	Evidence Evidence
	Gate     audit.Gate

	Recipients Recipients // nil: no answer is sealed
	Limiter    Limiter    // nil: no limit
	Signer     *Signer    // nil: no result is signed
	Rand       io.Reader  // names of signed results; nil: crypto/rand

	Zone *time.Location   // in which terminals write dates and times
	Skew time.Duration    // tolerance for terminals' clocks; 0: 120 s
	Late time.Duration    // how long after its window a token still settles; 0: 30 days
	Now  func() time.Time // nil: time.Now
}

// Service gives card numbers back. It is safe for concurrent use.
type Service struct {
	cfg   Config
	keyID string // of the signer
}

// New checks cfg and returns a service.
func New(cfg Config) (*Service, error) {
	if cfg.Opener == nil || cfg.Evidence == nil || cfg.Gate.Recorder == nil || cfg.Zone == nil {
		return nil, errors.New("configuring detokenization: opener, evidence, gate and zone are required")
	}
	if cfg.Skew == 0 {
		cfg.Skew = 120 * time.Second
	}
	if cfg.Late == 0 {
		cfg.Late = 30 * 24 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	s := &Service{cfg: cfg}
	if k := cfg.Signer; k != nil {
		if k.Public == nil || k.Public.Curve != elliptic.P256() || k.Sign == nil || k.Issuer == "" {
			return nil, errors.New("configuring detokenization: a signer is a P-256 key with a name")
		}
		var err error
		if s.keyID, err = thumbprint(k.Public); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Query names a token, by number or by reference, and the evidence of its use:
// a tap accepted before, or a whole tap. Exactly one of each is set; a direct
// query has no evidence.
type Query struct {
	Number token.Number
	Ref    token.Ref
	TapID  string
	Tap    *account.Tap

	// Where is what the caller knows of the purchase, for the token's controls:
	// all but its location and its totals, which are known here. The amount is
	// for direct queries; a tap has its own.
	Where token.Use
	// Purchase names the purchase that a direct query authorises, in 1 to 64
	// printable characters of the caller's own: it is counted once under that
	// name. The record does not repeat it.
	Purchase string

	Sealed bool // the card is wanted as a JWE to the caller's own key
	Signed bool // a signed result is wanted; only of queries with evidence
}

func (q Query) check() error {
	if q.Number.IsZero() == (q.Ref == "") || (q.TapID == "") == (q.Tap == nil) {
		return ErrQuery
	}
	return nil
}

// Verified is proof that a query was verified, for the caller who asked it. It
// is made by [Service.Verify] only; the zero value proves nothing.
type Verified struct {
	token  token.Standing
	card   token.Sealed
	tapID  string
	tap    account.Tap
	tapAt  time.Time // when it was made
	caller string
	action access.Action // the right by which it was asked
	sealed *recipient    // nil: in clear
	signed bool
}

// Answer is a card number and what it was given for.
type Answer struct {
	Ref    token.Ref
	PAR    token.PAR
	PAN    token.PAN    // zero when the card is sealed
	Expiry token.Expiry // the card's own; empty when the card is sealed
	TapID  string       // empty after a direct query
	Sealed string       // JWE to the caller's key over {"pan","expiry"}, if that was wanted
	Result string       // JWS over what was verified, if that was wanted: see [Result]

	Assurance token.Assurance
	Requestor token.Requestor
}

// Detokenize verifies a query and gives back the card number, for one of [Purposes].
// It counts against the caller's bound ([ErrBurst], [ErrFast]) whether or not the query
// holds; a query that does not is [ErrRefused].
func (s *Service) Detokenize(ctx context.Context, c access.Caller, q Query, purpose string) (Answer, error) {
	if !slices.Contains(Purposes, purpose) {
		return Answer{}, ErrPurpose
	}
	if err := s.take(ctx, c, access.Detokenize, q.object(), 1); err != nil {
		return Answer{}, err
	}
	return s.detokenize(ctx, c, q, purpose)
}

func (s *Service) detokenize(ctx context.Context, c access.Caller, q Query, purpose string) (Answer, error) {
	v, err := s.Verify(ctx, c, q)
	if err != nil {
		return Answer{}, err
	}
	return s.Reveal(ctx, c, v, purpose)
}

// Reveal gives back the card number that v proves a right to, for one of [Purposes].
// The record is durable before Reveal returns; the card is opened while it is written,
// and not given if it cannot be. A v of another caller, or the zero value, is [ErrRefused].
func (s *Service) Reveal(ctx context.Context, c access.Caller, v Verified, purpose string) (Answer, error) {
	if !slices.Contains(Purposes, purpose) {
		return Answer{}, ErrPurpose
	}
	if v.action == "" {
		v.action = access.Detokenize
	}
	ref := string(v.token.Ref)
	if err := s.cfg.Gate.Allow(ctx, c, v.action, ref); err != nil {
		return Answer{}, err
	}
	if ref == "" || v.caller != c.ID {
		return Answer{}, s.refuse(ctx, c, v.action, ref, "unverified")
	}
	if purpose == Authorisation && !s.cfg.Now().Before(v.token.NotAfter) {
		return Answer{}, s.refuse(ctx, c, v.action, ref, "expired")
	}
	recorded, err := s.cfg.Gate.Begin(ctx, c, v.action, ref, purpose)
	if err != nil {
		return Answer{}, err
	}
	pan, expiry, err := v.card(ctx)
	if err := recorded(); err != nil {
		return Answer{}, err
	}
	if err != nil {
		return Answer{}, fmt.Errorf("opening a card number: %w", err)
	}
	return s.answer(ctx, v, pan, expiry, purpose)
}

// answer writes the card number as it was wanted: in clear or sealed, alone or
// in a signed result.
func (s *Service) answer(ctx context.Context, v Verified, pan token.PAN, expiry token.Expiry, purpose string) (Answer, error) {
	a := Answer{Ref: v.token.Ref, PAR: v.token.PAR, PAN: pan, Expiry: expiry, TapID: v.tapID,
		Assurance: v.token.Assurance, Requestor: v.token.Requestor}
	if v.sealed != nil {
		var err error
		if a.Sealed, err = v.sealed.seal(pan, expiry); err != nil {
			return Answer{}, err
		}
		a.PAN, a.Expiry = token.PAN{}, ""
	}
	if !v.signed {
		return a, nil
	}
	result, err := s.sign(ctx, v, a, purpose)
	if err != nil {
		return Answer{}, err
	}
	a.Result = result
	return a, nil
}

// refuse records the reason and returns the one refusal that callers hear.
func (s *Service) refuse(ctx context.Context, c access.Caller, a access.Action, object, reason string) error {
	return s.cfg.Gate.Refuse(ctx, c, a, object, reason, ErrRefused)
}
