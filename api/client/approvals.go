package client

import (
	"context"
	"net/url"

	"github.com/tapvault/tapvault/api/wire"
)

// RequestApproval asks for others' approval of one exact request.
func (c *Client) RequestApproval(ctx context.Context, q wire.ApprovalRequest) (wire.Approval, error) {
	return post[wire.Approval](ctx, c, "/v1/approvals", q)
}

// Approval reads one.
func (c *Client) Approval(ctx context.Context, id string) (wire.Approval, error) {
	return get[wire.Approval](ctx, c, "/v1/approvals/"+segment(id))
}

// Approvals lists them, newest first.
func (c *Client) Approvals(ctx context.Context, cursor string) (wire.Approvals, error) {
	path := "/v1/approvals"
	if cursor != "" {
		path += "?cursor=" + url.QueryEscape(cursor)
	}
	return get[wire.Approvals](ctx, c, path)
}

// Approve approves the request of that digest.
func (c *Client) Approve(ctx context.Context, id string, digest wire.Hex32) (wire.Approval, error) {
	return post[wire.Approval](ctx, c, "/v1/approvals/"+segment(id)+"/approve", wire.ApprovalGiven{Digest: digest})
}

// CancelApproval takes a request back.
func (c *Client) CancelApproval(ctx context.Context, id string) (wire.Approval, error) {
	return post[wire.Approval](ctx, c, "/v1/approvals/"+segment(id)+"/cancel", wire.Renewal{})
}
