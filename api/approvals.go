package api

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/quorum"
)

// Approvals makes what one person must not do alone wait for others.
type Approvals interface {
	Request(ctx context.Context, c access.Caller, q quorum.Ask) (quorum.Approval, error)
	Get(ctx context.Context, c access.Caller, id string) (quorum.Approval, error)
	List(ctx context.Context, c access.Caller, p quorum.Page) ([]quorum.Approval, error)
	Approve(ctx context.Context, c access.Caller, id string, digest [32]byte) (quorum.Approval, error)
	Cancel(ctx context.Context, c access.Caller, id string) (quorum.Approval, error)
	// Use lets an act through that needs no approval, or has one, which is then used up.
	Use(ctx context.Context, c access.Caller, a quorum.Act) error
}

// guard is what an operation needs besides its scope.
type guard struct {
	verb  quorum.Verb
	right access.Action // of the operation itself, which is judged first
	// fits says why a request would fail in any case, before an approval is used up
	// for it. nil: nothing is known of that.
	fits func(context.Context, *request) error
}

func (s *server) requestApproval(ctx context.Context, q *request) (any, error) {
	var in wire.ApprovalRequest
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	a, err := s.Approvals.Request(ctx, q.caller, quorum.Ask{Verb: quorum.Verb(in.Verb), Method: in.Method, Path: in.Path, Body: []byte(in.Body), Reason: in.Reason})
	if err != nil {
		return nil, err
	}
	return withStatus{201, approvalOut(a)}, nil
}

func (s *server) approval(ctx context.Context, q *request) (any, error) {
	return answerApproval(s.Approvals.Get(ctx, q.caller, q.param("approval")))
}

func (s *server) approve(ctx context.Context, q *request) (any, error) {
	var in wire.ApprovalGiven
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return answerApproval(s.Approvals.Approve(ctx, q.caller, q.param("approval"), in.Digest))
}

func (s *server) cancelApproval(ctx context.Context, q *request) (any, error) {
	var in wire.Renewal
	if err := wire.Decode(q.body, &in); err != nil {
		return nil, err
	}
	return answerApproval(s.Approvals.Cancel(ctx, q.caller, q.param("approval")))
}

func (s *server) approvals(ctx context.Context, q *request) (any, error) {
	limit, err := q.page()
	if err != nil {
		return nil, err
	}
	p := quorum.Page{Limit: limit + 1}
	if p.Before, p.BeforeID, err = approvalMark(q.query["cursor"]); err != nil {
		return nil, err
	}
	all, err := s.Approvals.List(ctx, q.caller, p)
	if err != nil {
		return nil, err
	}
	out := wire.Approvals{Approvals: []wire.Approval{}}
	for i, a := range all {
		if i == limit {
			last := all[i-1]
			out.Next = strconv.FormatInt(last.CreatedAt.UnixMilli(), 36) + "-" + last.ID
			break
		}
		out.Approvals = append(out.Approvals, approvalOut(a))
	}
	return out, nil
}

// approvalMark reads where a list goes on.
func approvalMark(cursor string) (at time.Time, id string, err error) {
	if cursor == "" {
		return at, "", nil
	}
	ms, id, ok := strings.Cut(cursor, "-")
	n, err := strconv.ParseInt(ms, 36, 64)
	if !ok || err != nil || n <= 0 || !quorum.ValidID(id) {
		return at, "", badCursor()
	}
	return time.UnixMilli(n), id, nil
}

func answerApproval(a quorum.Approval, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return approvalOut(a), nil
}

func approvalOut(a quorum.Approval) wire.Approval {
	out := wire.Approval{ID: a.ID, Verb: string(a.Verb), Method: a.Method, Path: a.Path, Digest: a.Digest, Summary: a.Summary, Reason: a.Reason,
		Requester: a.Requester, Needed: a.Needed, State: string(a.State), CreatedAt: a.CreatedAt.UTC(), ExpiresAt: a.ExpiresAt.UTC()}
	if !a.EndedAt.IsZero() {
		at := a.EndedAt.UTC()
		out.EndedAt = &at
	}
	for _, v := range a.Votes {
		out.Votes = append(out.Votes, wire.ApprovalVote{Approver: v.Approver, At: v.At.UTC()})
	}
	return out
}
