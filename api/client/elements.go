package client

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
)

// EnrolElement takes a secure element in.
func (c *Client) EnrolElement(ctx context.Context, q wire.ElementEnrolment) (wire.Element, error) {
	return post[wire.Element](ctx, c, "/v1/elements", q)
}

// Element reads a secure element.
func (c *Client) Element(ctx context.Context, id string) (wire.Element, error) {
	return get[wire.Element](ctx, c, "/v1/elements/"+segment(id))
}

// OrderElement makes a script for an element.
func (c *Client) OrderElement(ctx context.Context, id string, q wire.ElementOrder) (wire.Element, error) {
	return post[wire.Element](ctx, c, "/v1/elements/"+segment(id)+"/scripts", q)
}

// CarryElement hands in what the element gave the courier, if anything, and
// fetches the next script.
func (c *Client) CarryElement(ctx context.Context, id string, q wire.ElementCourier) (wire.ElementScript, error) {
	return post[wire.ElementScript](ctx, c, "/v1/elements/"+segment(id)+"/courier", q)
}
