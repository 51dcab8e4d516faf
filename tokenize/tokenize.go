// Package tokenize issues tokens and moves them through their lives.
//
// A token has a [token.Number] of 13 to 19 digits, which takes the place of the card
// number, and a [token.Ref], by which everybody here names it. It is good in a window
// of time: for a service day, or for one hour to seven days, and longer for a card on
// file. Its states and the verbs between them are those of package token.
//
// Every method that takes a caller asks the gate whether that caller may act, and has it
// recorded, before it looks at or changes anything. Methods that change something take
// an [access.Attempt]: the same attempt made again has no second effect and is given the
// first one's answer. A token of another requestor looks to the caller as if it did not
// exist ([ErrUnknown]).
package tokenize

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// Errors of this package. Those of [Vault] and of the gate come through as they are.
var (
	// ErrUnknown reports a token that does not exist or is another requestor's:
	// a caller cannot tell which.
	ErrUnknown = fault.New(fault.TokenUnknown, "no such token")
	// ErrState reports a verb that does not apply to the token's state, or a token that
	// others kept changing.
	ErrState = fault.New(fault.TokenState, "the token's state does not allow that")
	// ErrExpired reports a verb on a token whose window has closed.
	ErrExpired = fault.New(fault.TokenExpired, "the token's window has closed")
	// ErrCardExpired reports a request for a card whose expiry date comes before the
	// token's window.
	ErrCardExpired = fault.New(fault.CardExpired, "the card has expired before the token would begin")
	// ErrNoRequestor reports a client that acts for no token requestor.
	ErrNoRequestor = fault.New(fault.Denied, "this client has no token requestor id: the operator registers one that has, with --requestor")
	// ErrDay reports a service day other than today's and the next.
	ErrDay = fault.New(fault.DayOutOfReach, "tokens are issued for this service day and the next")
	// ErrLifetime reports a lifetime outside what the kind of token may have.
	ErrLifetime = fault.New(fault.Malformed, "a token lives one hour to seven days, longer only when it is a card on file")
)

// Vault is where tokens are kept. Tokens it returns are durable; it is safe for
// concurrent use. Its errors carry a fault kind: TokenUnknown for a reference
// that names nothing, TokenState when a token is not as it was seen, in which
// case nothing happened.
type Vault interface {
	Cards
	Earlier
	Token(ctx context.Context, ref token.Ref) (token.Token, error)
	Find(ctx context.Context, f token.Filter, after token.Mark, limit int) (token.Page, error)
	// Issue makes a token once per attempt; a later try gets the first's. When
	// the order asks for the only one of its kind, a living one is the answer.
	Issue(ctx context.Context, o token.Order, caller string, a access.Attempt) (token.Token, error)
	// Renew is Issue after another token, which it compares and swaps.
	Renew(ctx context.Context, o token.Order, caller string, a access.Attempt) (token.Token, error)
	// CardExpiry is the expiry date of the card behind a token.
	CardExpiry(ctx context.Context, ref token.Ref) (token.Expiry, error)
	// Change compares and swaps, once per attempt.
	Change(ctx context.Context, c token.Change, caller string, a access.Attempt) (token.Token, error)
	// ExpireDue expires the tokens whose windows have closed, and names those that it cannot.
	ExpireDue(ctx context.Context) (moved int, err error)
}

// Earlier finds what an earlier try of an attempt has done: the token that it made, that
// it made by renewing another, or that it did v to. ok is false when there was none.
type Earlier interface {
	Asked(ctx context.Context, caller string, a access.Attempt) (t token.Token, ok bool, err error)
	Renewed(ctx context.Context, caller string, a access.Attempt) (t token.Token, ok bool, err error)
	Moved(ctx context.Context, v token.Verb, caller string, a access.Attempt) (t token.Token, ok bool, err error)
}

// Duplicates says what a requestor gets who asks again for a token of the same
// card on the same device.
type Duplicates string

// Duplicates policies.
const (
	NewToken  Duplicates = "new"  // another token; the default
	SameToken Duplicates = "same" // the one that lives already, if half of the life asked for is left of it
)

// Policy is what is agreed with one requestor.
type Policy struct {
	Duplicates Duplicates // "": NewToken
	Decide     bool       // tokens wait for the issuer's decision before they are handed out
}

// Config is what a [Service] is made of. Vault, Gate and Calendar are required.
type Config struct {
	Vault    Vault
	Gate     audit.Gate
	Calendar token.Calendar
	Policies map[token.Requestor]Policy // requestors it does not name have the zero policy
	OnFile   time.Duration              // longest life of a card-on-file token; 0: five years of 366 days
	Overlap  time.Duration              // how long a token and the one that renews it are both good; 0: 10 minutes
	Now      func() time.Time           // nil: time.Now
	Rand     io.Reader                  // draws references; nil: crypto/rand
}

// Service issues and moves tokens. It is safe for concurrent use.
type Service struct{ cfg Config }

// New checks cfg and returns a service.
func New(cfg Config) (*Service, error) {
	if cfg.Vault == nil || cfg.Gate.Recorder == nil || cfg.Calendar.Zone == nil {
		return nil, errors.New("configuring tokens: vault, gate and calendar are required")
	}
	if cfg.Calendar.CutOver < 0 || cfg.Calendar.CutOver >= 24*time.Hour {
		return nil, errors.New("configuring tokens: the cut-over must be a time of day")
	}
	for r, p := range cfg.Policies {
		if _, err := token.ParseRequestor(string(r)); err != nil || p.Duplicates != "" && p.Duplicates != NewToken && p.Duplicates != SameToken {
			return nil, errors.New("configuring tokens: a policy is of a requestor of 11 digits, and its duplicates are new or same")
		}
	}
	if cfg.OnFile == 0 {
		cfg.OnFile = 5 * 366 * 24 * time.Hour
	}
	if cfg.Overlap == 0 {
		cfg.Overlap = 10 * time.Minute
	}
	if cfg.OnFile < longest || cfg.Overlap < 0 || cfg.Overlap > shortest {
		return nil, errors.New("configuring tokens: cards on file live seven days or more, and renewals overlap by up to an hour")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Service{cfg}, nil
}

// Request asks for a token. Fields without a stated default are required.
type Request struct {
	Requestor token.Requestor // "": the caller's own
	PAN       token.PAN
	PANExpiry token.Expiry
	PSN       string // card sequence number, two digits; "" when there is none
	Location  token.Location

	// Day is the service day for which the token is good, this one or the next; nil:
	// today. With less than an hour left of today, the token is good to the end of the
	// next day. With a Lifetime it is good for that long instead, from now or from the
	// beginning of Day.
	Day *token.Day
	// Lifetime is 1 hour to 7 days, up to [Config].OnFile for a card on file; 0: the day.
	Lifetime time.Duration

	Assurance  token.Assurance
	FormFactor token.FormFactor
	Device     string // the requestor's name for the device
	Controls   token.Controls
	Attempt    access.Attempt
}

// Request issues a token in the caller's own name. Asking again with the same attempt
// gives the same token; asking again for the same card and device gives what the
// requestor's [Policy] says. The token is durable on return. After an error it may exist
// all the same: asking again with the same attempt finds out.
//
// It returns [ErrNoRequestor], [access.ErrDenied] for another requestor's name,
// [token.ErrMalformed] for a field that is not in its format, [ErrDay], [ErrLifetime] or
// [ErrCardExpired] for a window that is not possible, and an error of kind
// [fault.NoRange], [fault.RangeExhausted] or [fault.CardIsToken] from the vault.
func (s *Service) Request(ctx context.Context, c access.Caller, r Request) (token.Token, error) {
	ref, err := token.DrawRef(s.cfg.Rand)
	if err != nil {
		return token.Token{}, err
	}
	if err := s.cfg.Gate.Check(ctx, c, access.TokenRequest, string(ref)); err != nil {
		return token.Token{}, err
	}
	if c.Requestor == "" {
		return token.Token{}, s.refuse(ctx, c, access.TokenRequest, ref, "no-requestor", ErrNoRequestor)
	}
	if r.Requestor == "" {
		r.Requestor = token.Requestor(c.Requestor)
	}
	if string(r.Requestor) != c.Requestor {
		return token.Token{}, s.refuse(ctx, c, access.TokenRequest, ref, "other-requestor", access.ErrDenied)
	}
	if err := r.check(); err != nil {
		return token.Token{}, err
	}
	prior, ok, err := s.cfg.Vault.Asked(ctx, c.ID, r.Attempt)
	if err != nil {
		return token.Token{}, fmt.Errorf("looking for an earlier try: %w", err)
	}
	if ok {
		return s.again(ctx, c, access.TokenRequest, prior)
	}
	o, err := s.order(ref, r)
	if err != nil {
		return token.Token{}, err
	}
	t, err := s.cfg.Vault.Issue(ctx, o, c.ID, r.Attempt)
	if err != nil {
		return token.Token{}, fmt.Errorf("issuing a token: %w", err)
	}
	if t.Ref != ref {
		return s.again(ctx, c, access.TokenRequest, t)
	}
	return t, nil
}

// check refuses fields that no request can have.
func (r Request) check() error {
	if _, err := token.ParseRequestor(string(r.Requestor)); err != nil {
		return err
	}
	if r.PAN.IsZero() {
		return fmt.Errorf("%w: a card number is required", token.ErrMalformed)
	}
	if _, err := token.ParseExpiry(string(r.PANExpiry)); err != nil {
		return err
	}
	if _, err := token.ParseLocation(string(r.Location)); err != nil {
		return err
	}
	if p := r.PSN; p != "" && (len(p) != 2 || p < "00" || p > "99" || p[1] < '0' || p[1] > '9') {
		return fmt.Errorf("%w: a card sequence number has two digits", token.ErrMalformed)
	}
	if _, err := token.ParseFormFactor(string(r.FormFactor)); err != nil {
		return err
	}
	return errors.Join(r.Assurance.Check(), token.CheckDevice(r.Device), r.Controls.Validate())
}

// again answers a question that was answered with a token before, and records
// which one: the record of this try names one never made.
func (s *Service) again(ctx context.Context, c access.Caller, a access.Action, t token.Token) (token.Token, error) {
	err := s.cfg.Gate.CheckBecause(ctx, c, a, string(t.Ref), "asked-again")
	if err != nil {
		return token.Token{}, err
	}
	return s.present(t), nil
}

// Token returns a token as it is now, or [ErrUnknown].
func (s *Service) Token(ctx context.Context, c access.Caller, ref token.Ref) (token.Token, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.TokenRead, ref.Object()); err != nil {
		return token.Token{}, err
	}
	t, err := s.own(ctx, c, access.TokenRead, ref)
	return s.present(t), err
}

// own reads a token that c may know of, as it is stored.
func (s *Service) own(ctx context.Context, c access.Caller, a access.Action, ref token.Ref) (token.Token, error) {
	if !ref.Valid() {
		return token.Token{}, s.refuse(ctx, c, a, ref, "unknown", ErrUnknown)
	}
	t, err := s.cfg.Vault.Token(ctx, ref)
	if fault.KindOf(err) == fault.TokenUnknown {
		return token.Token{}, s.refuse(ctx, c, a, ref, "unknown", ErrUnknown)
	}
	if err != nil {
		return token.Token{}, fmt.Errorf("reading a token: %w", err)
	}
	if !sees(c, t) {
		return token.Token{}, s.refuse(ctx, c, a, ref, "other-requestor", ErrUnknown)
	}
	return t, nil
}

// sees reports whether c may know of t. Issuers see their own tokens, and so
// does everyone who acts for one requestor.
func sees(c access.Caller, t token.Token) bool {
	if c.Role == access.Issuer || c.Requestor != "" {
		return c.Requestor == string(t.Requestor)
	}
	return true
}

// present shows a token whose window has closed as expired, also before the
// sweep has come by. One that is held back keeps the moment since when.
func (s *Service) present(t token.Token) token.Token {
	if t.Ref != "" && t.State != token.Deleted && t.State != token.Expired && !s.cfg.Now().Before(t.NotAfter) {
		if len(t.Suspenders) == 0 {
			t.ChangedAt = t.NotAfter
		}
		t.State = token.Expired
	}
	return t
}

func (s *Service) refuse(ctx context.Context, c access.Caller, a access.Action, ref token.Ref, reason string, err error) error {
	return s.cfg.Gate.Refuse(ctx, c, a, ref.Object(), reason, err)
}
