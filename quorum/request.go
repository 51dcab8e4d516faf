package quorum

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/digits"
)

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
	digest, body, err := s.digest(q.Verb, q.Method, q.Path, q.Body)
	if err != nil {
		return Approval{}, err
	}
	var b [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return Approval{}, fmt.Errorf("drawing the id of an approval: %w", err)
	}
	now, err := s.now(ctx)
	if err != nil {
		return Approval{}, err
	}
	now = now.UTC().Truncate(time.Millisecond)
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

// digest is [Digest], keyed where the body may hold a token's number: it is the only
// thing that is kept of that, and a number has too few digits not to be searched for.
func (s *Service) digest(v Verb, method, path string, body []byte) (digest [32]byte, canonical []byte, err error) {
	digest, canonical, err = Digest(v, method, path, body)
	if err != nil || v != DetokenizeBatch {
		return digest, canonical, err
	}
	if len(s.cfg.Secret) == 0 {
		return digest, nil, errors.New("naming a request for approval: its verb needs a key, and there is none here")
	}
	h := hmac.New(sha256.New, s.cfg.Secret)
	_, _ = h.Write(digest[:])
	return [32]byte(h.Sum(nil)), canonical, nil
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
