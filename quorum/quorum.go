// Package quorum makes what one person must not do alone wait for others.
//
// Somebody asks for one exact request: its verb, method, path and body, of which
// a digest is kept. Others approve it, each once, never the one who asked. When
// enough have, that request may be made, once, until the approval expires.
package quorum

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
)

// Errors.
var (
	ErrNeeded  = fault.New(fault.ApprovalNeeded, "this exact request has not been approved by enough others")
	ErrUnknown = fault.New(fault.ApprovalUnknown, "no such approval")
	ErrState   = fault.New(fault.ApprovalState, "the approval is not waiting any more")
	ErrOwn     = fault.New(fault.Denied, "who asks may not approve")
	ErrVoter   = fault.New(fault.Denied, "this caller is no approver of this verb")
	ErrDigest  = fault.New(fault.ApprovalState, "what is approved is another request than the digest names")
	ErrAsk     = fault.New(fault.Malformed, "not a request that waits for approval here")
	ErrDigits  = fault.New(fault.Malformed, "body.reason and body.evidence together hold more than 11 digits")
)

// Verb is a kind of request that can be put under approval.
type Verb string

// Verbs.
const (
	DetokenizeBatch Verb = "detokenize-batch" // card numbers in bulk
	VaultExport     Verb = "vault-export"
	Settings        Verb = "settings" // token ranges, requestors, and these rules
	ClientCreation  Verb = "client-creation"
	KeyDestruction  Verb = "key-destruction"
	LoadDecision    Verb = "load-decision" // what becomes of the money of an order to a card
)

// Run is the method of what is done at the machine; the path is the command.
const Run = "RUN"

// places are where the requests of a verb are made.
var places = map[Verb][]string{
	DetokenizeBatch: {"POST /v1/detokenize/batch", "POST /v1/detokenize/direct/batch"},
	VaultExport:     {Run + " export"},
	Settings:        {Run + " serve"},
	ClientCreation:  {Run + " client add"},
	KeyDestruction:  {Run + " keys retire"},
	LoadDecision:    {"POST /v1/loads/decisions"},
}

// Verbs lists every verb.
func Verbs() []Verb {
	return []Verb{DetokenizeBatch, VaultExport, Settings, ClientCreation, KeyDestruction, LoadDecision}
}

// Rule says whose approval a verb needs.
type Rule struct {
	Needed    int      // how many approve
	Approvers []string // client ids of officers
	Valid     time.Duration
}

// Longest is the longest time that an approval may be good.
const Longest = 31 * 24 * time.Hour

// Check says what is wrong with a rule.
func (r Rule) Check() error {
	seen := slices.Clone(r.Approvers)
	slices.Sort(seen)
	switch {
	case r.Needed < 1 || r.Needed > len(r.Approvers):
		return errors.New("needed: 1 to as many as there are approvers")
	case len(slices.Compact(seen)) != len(r.Approvers):
		return errors.New("approvers: one stands twice")
	case r.Valid < time.Minute || r.Valid > Longest:
		return errors.New("valid: 1m to 744h")
	}
	return nil
}

// State is where an approval stands.
type State string

// States.
const (
	Pending   State = "PENDING"
	Approved  State = "APPROVED"
	Used      State = "USED"
	Cancelled State = "CANCELLED"
	Expired   State = "EXPIRED" // never stored: time brings it about
)

// States lists every state.
var States = []State{Pending, Approved, Used, Cancelled, Expired}

// Vote is one approval of one person.
type Vote struct {
	Approver string
	At       time.Time
}

// Approval is a request that waits, or waited.
type Approval struct {
	ID           string
	Verb         Verb
	Method, Path string
	Digest       [32]byte
	Summary      string
	Reason       string
	Requester    string
	Needed       int
	State        State
	Revision     int64
	CreatedAt    time.Time
	ExpiresAt    time.Time
	EndedAt      time.Time
	Votes        []Vote
}

// at is a as it stands at a moment.
func (a Approval) at(now time.Time) Approval {
	if (a.State == Pending || a.State == Approved) && !now.Before(a.ExpiresAt) {
		a.State = Expired
	}
	return a
}

// Ask is what somebody wants approved.
type Ask struct {
	Verb         Verb
	Method, Path string
	Body         []byte // JSON; it is not kept
	Reason       string
}

// Page is a part of a list.
type Page struct {
	Requester string    // empty: of everybody
	Before    time.Time // zero: from the newest on
	BeforeID  string
	Limit     int
}

// Which says which approvals of one exact request count: those that have not expired at a
// moment. What others asked for, or what is over, must not stand before what is looked for.
type Which struct {
	Digest    [32]byte
	Requester string // empty: whoever asked
	Now       time.Time
}

// Store keeps approvals. It is safe for concurrent use, also by several
// processes.
type Store interface {
	Insert(ctx context.Context, a Approval) error
	// Approval returns one with its votes, or [ErrUnknown].
	Approval(ctx context.Context, id string) (Approval, error)
	List(ctx context.Context, p Page) ([]Approval, error)
	// Change compares and swaps: it calls change with the approval as it is and
	// keeps what that makes of its state and votes, in one transaction.
	Change(ctx context.Context, id string, change func(*Approval) error) (Approval, error)
	// Ready returns APPROVED ones, the oldest first, behind one of them (zero: from the
	// first on), without votes: some, and none only when there are no more.
	Ready(ctx context.Context, w Which, behind Approval) ([]Approval, error)
	// Spent returns the USED one that was used last, without votes; ok is false when
	// there is none.
	Spent(ctx context.Context, w Which) (a Approval, ok bool, err error)
}

// Config is what a [Service] is made of; fields without a default are required.
type Config struct {
	Store Store
	Gate  audit.Gate
	Rules map[Verb]Rule
	// Key names the key that a client signs with, which stands for who holds it:
	// two clients with one key are one person. "" says that it may not act any
	// more, and so does an error of [fault.Unreadable] of an approver. nil: every client is
	// a person of its own.
	Key func(ctx context.Context, client string) (string, error)
	// Secret keys the digests of requests whose bodies may hold token numbers, the
	// same in all processes. nil: there are none here.
	Secret []byte
	Now    func() time.Time // nil: time.Now
	// Clock is the one clock of all processes, by which an approval lives and ends; nil:
	// Now.
	Clock func(ctx context.Context) (time.Time, error)
	Rand  io.Reader    // nil: crypto/rand
	Log   *slog.Logger // of what is stored and cannot be read; nil: none
}

// Service answers callers. It is safe for concurrent use.
type Service struct {
	cfg    Config
	unread atomic.Uint64
}

// Unreadable is how often something was passed over that is stored and cannot be read: an
// approver's key, or an approval of a request.
func (s *Service) Unreadable() uint64 { return s.unread.Load() }

// passOver tells the operator of what cannot be read.
func (s *Service) passOver(ctx context.Context, what string, err error) {
	s.unread.Add(1)
	s.cfg.Log.ErrorContext(ctx, what, "error", err.Error())
}

// New checks cfg and returns a service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Gate.Recorder == nil {
		return nil, errors.New("configuring approvals: a store and a gate are required")
	}
	for v, r := range cfg.Rules {
		if places[v] == nil {
			return nil, fmt.Errorf("configuring approvals: no verb is called %q", v)
		}
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("configuring approvals: %s: %w", v, err)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Clock == nil {
		cfg.Clock = func(context.Context) (time.Time, error) { return cfg.Now(), nil }
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg}, nil
}

// now is the moment by which approvals live.
func (s *Service) now(ctx context.Context) (time.Time, error) {
	at, err := s.cfg.Clock(ctx)
	if err != nil {
		return at, fmt.Errorf("asking the clock of approvals: %w", err)
	}
	return at, nil
}

// ValidID reports whether s looks like the id of an approval.
func ValidID(s string) bool {
	return len(s) == 28 && strings.HasPrefix(s, "ap") && !strings.ContainsFunc(s[2:], func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '2' || r > '7')
	})
}

// sees reports whether c may know of a: who acts for one requestor sees only
// what it asked for.
func sees(c access.Caller, a Approval) bool {
	return c.Role != access.Issuer && c.Requestor == "" || a.Requester == c.ID
}

// find returns an approval that c may know of.
func (s *Service) find(ctx context.Context, c access.Caller, id string) (Approval, error) {
	if !ValidID(id) {
		return Approval{}, ErrUnknown
	}
	a, err := s.cfg.Store.Approval(ctx, id)
	if err == nil && !sees(c, a) {
		err = ErrUnknown
	}
	if err != nil {
		return a, err
	}
	now, err := s.now(ctx)
	return a.at(now), err
}

// Get returns an approval.
func (s *Service) Get(ctx context.Context, c access.Caller, id string) (Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalRead, "approvals"); err != nil {
		return Approval{}, err
	}
	return s.find(ctx, c, id)
}

// List returns approvals, newest first.
func (s *Service) List(ctx context.Context, c access.Caller, p Page) ([]Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalRead, "approvals"); err != nil {
		return nil, err
	}
	if !sees(c, Approval{}) {
		p.Requester = c.ID
	}
	all, err := s.cfg.Store.List(ctx, p)
	if err != nil {
		return nil, err
	}
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i] = all[i].at(now)
	}
	return all, nil
}
