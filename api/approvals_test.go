package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/quorum"
)

const sampleApproval = "apAAAAAAAAAAAAAAAAAAAAAAAAAA"

// askedPage is the size of the page that was asked for last.
var askedPage int

// approvals answers for requests that wait.
type approvals struct{ *backend }

func (b approvals) one() (quorum.Approval, error) {
	return quorum.Approval{ID: sampleApproval, Verb: quorum.VaultExport, Method: quorum.Run, Path: "export", Digest: [32]byte{10}, Summary: `{"file":"x"}`, Reason: "a test",
		Requester: "operator", Needed: 2, State: quorum.Used, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndedAt: now,
		Votes: []quorum.Vote{{Approver: "officer-1", At: now}}}, b.act()
}

func (b approvals) Request(context.Context, access.Caller, quorum.Ask) (quorum.Approval, error) {
	return b.one()
}

func (b approvals) Get(context.Context, access.Caller, string) (quorum.Approval, error) {
	return b.one()
}

func (b approvals) List(_ context.Context, _ access.Caller, p quorum.Page) ([]quorum.Approval, error) {
	askedPage = p.Limit
	a, err := b.one()
	return []quorum.Approval{a, a}, err
}

func (b approvals) Approve(context.Context, access.Caller, string, [32]byte) (quorum.Approval, error) {
	return b.one()
}

func (b approvals) Cancel(context.Context, access.Caller, string) (quorum.Approval, error) {
	return b.one()
}

func (b approvals) Use(_ context.Context, _ access.Caller, a quorum.Act) error {
	if strings.Contains(string(a.Body), "unapproved") {
		return quorum.ErrNeeded
	}
	return nil
}

// TestGuardedOperation: what was not approved never reaches its service.
func TestGuardedOperation(t *testing.T) {
	e := newEdge(t)
	for _, path := range []string{"/v1/detokenize/batch", "/v1/detokenize/direct/batch"} {
		s := find(t, path)
		e.back.queries = nil
		s.body = strings.Replace(s.body, `"r1"`, `"unapproved"`, 1)
		e.problem(s, s.request(), http.StatusForbidden, "approval-needed")
		if e.back.queries != nil {
			t.Errorf("%s: the service is asked all the same", path)
		}
	}
}

// TestGuardedAgain: a decision that was made is answered again without approval; one
// that was not needs it, and what cannot be a decision is told so first.
func TestGuardedAgain(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/loads/decisions")
	s.body = strings.Replace(s.body, "case-7", "unapproved", 1)
	e.problem(s, s.request(), http.StatusForbidden, "approval-needed")
	decided = true
	defer func() { decided = false }()
	if got := e.do(s, s.request()); got.Code != 200 || !strings.Contains(got.Body.String(), load1) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	s.body = "{}"
	e.problem(s, s.request(), 400, "malformed")
}

// TestApprovalPages: a list goes on where its cursor says, and no other text is
// a cursor.
func TestApprovalPages(t *testing.T) {
	e := newEdge(t)
	s := find(t, "/v1/approvals/{approval}")
	s.path, s.route = "/v1/approvals?limit=1", "/v1/approvals"
	w := e.do(s, s.request())
	_, next, ok := strings.Cut(w.Body.String(), `"next_cursor":"`)
	next, _, _ = strings.Cut(next, `"`)
	if !ok || askedPage != 2 {
		t.Fatalf("%s, limit %d", w.Body, askedPage)
	}
	s.path = "/v1/approvals?limit=1&cursor=" + next
	if w := e.do(s, s.request()); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, bad := range []string{"x", "-", "1-", "0-" + sampleApproval, "zz-ap1", next + "A"} {
		s.path = "/v1/approvals?cursor=" + bad
		e.problem(s, s.request(), 400, "malformed")
	}
}
