// Package quorum makes what one person must not do alone wait for others.
//
// Somebody asks for one exact request: its verb, method, path and body, of which
// a digest is kept. Others approve it, each once, never the one who asked. When
// enough have, that request may be made, once, until the approval expires.
package quorum

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/digits"
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
	// Ready returns the ids of APPROVED ones of a digest, oldest first.
	Ready(ctx context.Context, digest [32]byte) ([]string, error)
	// Spent returns the USED ones of a digest, the newest first, without votes.
	Spent(ctx context.Context, digest [32]byte) ([]Approval, error)
}

// Config is what a [Service] is made of; fields without a default are required.
type Config struct {
	Store Store
	Gate  audit.Gate
	Rules map[Verb]Rule
	// Key names the key that a client signs with, which stands for who holds it:
	// two clients with one key are one person. "" says that it may not act any
	// more. nil: every client is a person of its own.
	Key  func(ctx context.Context, client string) (string, error)
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// Service answers callers. It is safe for concurrent use.
type Service struct{ cfg Config }

// New checks cfg and returns a service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Gate.Recorder == nil {
		return nil, errors.New("configuring approvals: a store and a gate are required")
	}
	for v, r := range cfg.Rules {
		if err := r.Check(); err != nil || places[v] == nil {
			return nil, fmt.Errorf("configuring approvals: %s: %w", v, errors.Join(err))
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Service{cfg}, nil
}

// maxSummary bounds what approvers are shown, and the reason.
const (
	maxSummary = 2048
	maxReason  = 256
)

// Request asks for approval of one exact request.
func (s *Service) Request(ctx context.Context, c access.Caller, q Ask) (Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalRequest, "approvals"); err != nil {
		return Approval{}, err
	}
	rule, ok := s.cfg.Rules[q.Verb]
	if !ok || !slices.Contains(places[q.Verb], q.Method+" "+q.Path) || len(q.Reason) > maxReason {
		return Approval{}, fmt.Errorf("%w: the configuration puts no such verb, method and path under approval", ErrAsk)
	}
	digest, body, err := Digest(q.Verb, q.Method, q.Path, q.Body)
	if err != nil {
		return Approval{}, err
	}
	var b [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return Approval{}, fmt.Errorf("drawing the id of an approval: %w", err)
	}
	now := s.cfg.Now().UTC().Truncate(time.Millisecond)
	a := Approval{ID: "ap" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]), Verb: q.Verb, Method: q.Method, Path: q.Path,
		Digest: digest, Reason: q.Reason, Requester: c.ID, Needed: rule.Needed, State: Pending, CreatedAt: now, ExpiresAt: now.Add(rule.Valid)}
	if a.Summary, err = summary(q.Verb, q.Method, body); err != nil {
		return Approval{}, err
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.ApprovalRequest, a.ID, told("requested", a)); err != nil {
		return Approval{}, err
	}
	return a, s.cfg.Store.Insert(ctx, a)
}

// told is what the record says of a step.
func told(step string, a Approval) string {
	return fmt.Sprintf("%s %s %s", step, a.Verb, hex.EncodeToString(a.Digest[:8]))
}

// Digest names one exact request: the body counts by what it says, not by its
// spaces or the order of its members.
func Digest(v Verb, method, path string, body []byte) (digest [32]byte, canonical []byte, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil || all == nil || len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return digest, nil, fmt.Errorf("%w: its body is no JSON object", ErrAsk)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(all); err != nil { // members in the order of their names
		return digest, nil, fmt.Errorf("writing a body: %w", err)
	}
	canonical = bytes.TrimSpace(out.Bytes())
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "tapvault-approval\n%s\n%s\n%s\n", v, method, path)
	_, _ = h.Write(canonical)
	return [32]byte(h.Sum(nil)), canonical, nil
}

var purpose = regexp.MustCompile(`^[a-z]{1,32}$`)

// summary is what approvers are shown: the whole of a command, which holds no
// secret, and of a request over HTTP how many records it has and for what, or
// what it decides.
func summary(v Verb, method string, body []byte) (string, error) {
	if method == Run {
		if len(body) > maxSummary {
			return "", fmt.Errorf("%w: more than %d bytes", ErrAsk, maxSummary)
		}
		return string(body), nil
	}
	if v == LoadDecision {
		return loadDecision(body)
	}
	var in struct {
		Queries []json.RawMessage `json:"queries"`
		Purpose string            `json:"purpose"`
	}
	if json.Unmarshal(body, &in) != nil || !purpose.MatchString(in.Purpose) {
		return "", fmt.Errorf("%w: its body is none of this operation", ErrAsk)
	}
	return fmt.Sprintf("%d queries, purpose %s", len(in.Queries), in.Purpose), nil
}

// A decision about an order to a card is shown whole. What it says is bounded as
// the operation bounds it, so that nothing that may be a card number is kept.
var (
	orderID = regexp.MustCompile(`^ld[A-Z2-7]{26}$`)
	word    = regexp.MustCompile(`^[A-Z]{1,16}$`)
)

func loadDecision(body []byte) (string, error) {
	var in struct{ Load, State, Decision, Reason, Evidence string }
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	text := func(s string) bool { return s != "" && len(s) <= 128 }
	if d.Decode(&in) != nil || !orderID.MatchString(in.Load) || !word.MatchString(in.State) || !word.MatchString(in.Decision) || !text(in.Reason) || !text(in.Evidence) {
		return "", fmt.Errorf("%w: its body is none of this operation", ErrAsk)
	}
	if digits.TooMany(in.Reason, in.Evidence) {
		return "", fmt.Errorf("%w: %w", ErrDigits, ErrAsk)
	}
	return fmt.Sprintf("%s of %s in %s, evidence %q: %q", in.Decision, in.Load, in.State, in.Evidence, in.Reason), nil
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
	return a.at(s.cfg.Now()), err
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
	for i := range all {
		all[i] = all[i].at(s.cfg.Now())
	}
	return all, err
}

// Approve approves a request by its digest, which says that the approver means
// the same request. Once more is as good as once.
func (s *Service) Approve(ctx context.Context, c access.Caller, id string, digest [32]byte) (Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalDecide, "approvals"); err != nil {
		return Approval{}, err
	}
	a, err := s.find(ctx, c, id)
	if err != nil {
		return Approval{}, err
	}
	who, err := s.people(ctx, a.Verb, c.ID, a.Requester)
	if err != nil {
		return Approval{}, err
	}
	refuse := func(reason string, err error) (Approval, error) {
		return Approval{}, s.cfg.Gate.Refuse(ctx, c, access.ApprovalDecide, a.ID, reason, err)
	}
	switch {
	case a.Requester == c.ID, who[a.Requester] == who[c.ID]:
		return refuse("own", ErrOwn)
	case !slices.Contains(s.cfg.Rules[a.Verb].Approvers, c.ID):
		return refuse("no-approver", ErrVoter)
	case subtle.ConstantTimeCompare(a.Digest[:], digest[:]) != 1:
		return refuse("digest", ErrDigest)
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.ApprovalDecide, a.ID, told("approved", a)); err != nil {
		return Approval{}, err
	}
	return s.change(ctx, c, access.ApprovalDecide, a, func(a *Approval) error {
		if slices.ContainsFunc(a.Votes, func(v Vote) bool { return v.Approver == c.ID }) {
			return nil
		}
		if a.State != Pending {
			return ErrState
		}
		a.Votes = append(a.Votes, Vote{c.ID, s.cfg.Now()})
		if s.enough(*a, who) {
			a.State = Approved
		}
		return nil
	})
}

// people says who stands behind the approvers of a verb and behind others. The
// name of somebody who may not act any more is "".
func (s *Service) people(ctx context.Context, v Verb, others ...string) (map[string]string, error) {
	who := map[string]string{}
	for _, id := range slices.Concat(s.cfg.Rules[v].Approvers, others) {
		who[id] = id
		if s.cfg.Key == nil {
			continue
		}
		var err error
		if who[id], err = s.cfg.Key(ctx, id); err != nil {
			return nil, fmt.Errorf("looking for who approves: %w", err)
		}
	}
	return who, nil
}

// enough counts the people who voted and may still approve, without who asked.
func (s *Service) enough(a Approval, who map[string]string) bool {
	rule := s.cfg.Rules[a.Verb]
	seen := map[string]bool{"": true, who[a.Requester]: true}
	n := 0
	for _, v := range a.Votes {
		if p := who[v.Approver]; v.Approver != a.Requester && slices.Contains(rule.Approvers, v.Approver) && !seen[p] {
			seen[p] = true
			n++
		}
	}
	return n >= max(a.Needed, rule.Needed)
}

// Cancel takes a request back. Who asked may, and every approver.
func (s *Service) Cancel(ctx context.Context, c access.Caller, id string) (Approval, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ApprovalRequest, "approvals"); err != nil {
		return Approval{}, err
	}
	a, err := s.find(ctx, c, id)
	if err != nil {
		return Approval{}, err
	}
	if a.Requester != c.ID && !slices.Contains(s.cfg.Rules[a.Verb].Approvers, c.ID) {
		return Approval{}, s.cfg.Gate.Refuse(ctx, c, access.ApprovalRequest, a.ID, "no-approver", ErrVoter)
	}
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.ApprovalRequest, a.ID, told("cancelled", a)); err != nil {
		return Approval{}, err
	}
	return s.change(ctx, c, access.ApprovalRequest, a, func(a *Approval) error {
		if a.State != Pending && a.State != Approved && a.State != Cancelled {
			return ErrState
		}
		a.State, a.EndedAt = Cancelled, s.cfg.Now()
		return nil
	})
}

// change compares and swaps. A refusal that only the row can tell is recorded.
func (s *Service) change(ctx context.Context, c access.Caller, right access.Action, a Approval, do func(*Approval) error) (Approval, error) {
	out, err := s.cfg.Store.Change(ctx, a.ID, func(a *Approval) error {
		if a.at(s.cfg.Now()).State == Expired {
			return ErrState
		}
		return do(a)
	})
	if errors.Is(err, ErrState) {
		return Approval{}, s.cfg.Gate.Refuse(ctx, c, right, a.ID, "state", ErrState)
	}
	return out.at(s.cfg.Now()), err
}

// Use lets one exact request through, if its verb needs no approval or if it
// was approved: the approval is then used up, before anything is done. Over HTTP
// it is good for who asked for it only. right is what the request itself needs,
// and is judged first.
func (s *Service) Use(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte) error {
	if _, ok := s.cfg.Rules[v]; !ok {
		return nil
	}
	if method != Run {
		if err := s.cfg.Gate.Allow(ctx, c, right, string(v)); err != nil {
			return err
		}
	}
	return s.redeem(ctx, c, right, v, method, path, body, func(a Approval, who map[string]string) bool {
		return s.enough(a, who) && (method == Run || a.Requester == c.ID)
	})
}

// Redeem is Use for a verb whose rule is not in the configuration any more: an
// approval counts that was given under the rule of its time.
func (s *Service) Redeem(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte) error {
	return s.redeem(ctx, c, right, v, method, path, body, func(Approval, map[string]string) bool { return true })
}

func (s *Service) redeem(ctx context.Context, c access.Caller, right access.Action, v Verb, method, path string, body []byte, good func(Approval, map[string]string) bool) error {
	digest, _, err := Digest(v, method, path, body)
	if err != nil {
		return err
	}
	ids, err := s.cfg.Store.Ready(ctx, digest)
	if err != nil {
		return err
	}
	for _, id := range ids {
		asked, err := s.cfg.Store.Approval(ctx, id)
		if err != nil {
			return err
		}
		who, err := s.people(ctx, v, asked.Requester) // who asked does not change
		if err != nil {
			return err
		}
		used, err := s.cfg.Store.Change(ctx, id, func(a *Approval) error {
			if a.at(s.cfg.Now()).State != Approved || !good(*a, who) {
				return ErrState
			}
			a.State, a.EndedAt = Used, s.cfg.Now()
			return nil
		})
		if errors.Is(err, ErrState) {
			continue
		}
		if err != nil {
			return err
		}
		return s.cfg.Gate.Recorder.Record(ctx, audit.Entry{Caller: c, Action: right, Object: used.ID, Outcome: audit.Allowed,
			Reason: told("used", used), Request: audit.RequestID(ctx)})
	}
	if err := s.spent(ctx, c, digest, method); err != nil {
		return s.cfg.Gate.Refuse(ctx, c, right, string(v), "approval", err)
	}
	return s.cfg.Gate.Refuse(ctx, c, right, string(v), "approval", ErrNeeded)
}

// SpentError is [ErrNeeded] for a request that was let through before: its answer may
// have been lost. Whether it was done is for who asks to see; an approval is good once.
type SpentError struct {
	ID string
	At time.Time
}

func (e *SpentError) Error() string { return e.text().Error() }

func (e *SpentError) text() error {
	return fault.New(fault.ApprovalNeeded, fmt.Sprintf("this exact request was let through at %s by approval %s, which is used up: see whether it was done, and ask anew if it was not",
		e.At.UTC().Format(time.RFC3339), e.ID))
}

// Unwrap gives the text that is fit for callers, and [ErrNeeded].
func (e *SpentError) Unwrap() []error { return []error{e.text(), ErrNeeded} }

// spent returns a [SpentError] when c had this request let through, in the life of its
// approval. At the machine whoever stands there is told.
func (s *Service) spent(ctx context.Context, c access.Caller, digest [32]byte, method string) error {
	all, err := s.cfg.Store.Spent(ctx, digest)
	if err != nil {
		return err
	}
	for _, a := range all {
		if s.cfg.Now().Before(a.ExpiresAt) && (method == Run || a.Requester == c.ID) {
			return &SpentError{a.ID, a.EndedAt}
		}
	}
	return nil
}
