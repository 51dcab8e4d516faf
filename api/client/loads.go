package client

import (
	"context"
	"net/url"

	"github.com/tapvault/tapvault/api/wire"
)

// LoadCard debits an account and orders a card to be credited. The answer's MAC2,
// date and time are for the card.
func (c *Client) LoadCard(ctx context.Context, account string, q wire.CardLoadOrder) (wire.CardLoad, error) {
	return post[wire.CardLoad](ctx, c, "/v1/accounts/"+segment(account)+"/loads", q)
}

// UnloadCard orders a card to be debited. The account is credited once
// [Client.ConfirmLoad] brings the card's MAC3.
func (c *Client) UnloadCard(ctx context.Context, account string, q wire.CardUnloadOrder) (wire.CardLoad, error) {
	return post[wire.CardLoad](ctx, c, "/v1/accounts/"+segment(account)+"/unloads", q)
}

// LimitCard orders a card to change its overdraft limit.
func (c *Client) LimitCard(ctx context.Context, account string, q wire.CardLimitOrder) (wire.CardLoad, error) {
	return post[wire.CardLoad](ctx, c, "/v1/accounts/"+segment(account)+"/overdrafts", q)
}

// CardLoad reads what is known of an order.
func (c *Client) CardLoad(ctx context.Context, id string) (wire.CardLoad, error) {
	return get[wire.CardLoad](ctx, c, "/v1/loads/"+segment(id))
}

// CardLoads reads one page of an account's orders, newest first; an empty state is
// any, and cursor is "" for the first page.
func (c *Client) CardLoads(ctx context.Context, account, state, cursor string, limit int) (wire.CardLoads, error) {
	q := query(cursor, limit)
	if state != "" {
		q.Set("state", state)
	}
	return get[wire.CardLoads](ctx, c, withQuery("/v1/accounts/"+segment(account)+"/loads", q))
}

// ConfirmLoad brings the card's acknowledgement.
func (c *Client) ConfirmLoad(ctx context.Context, id string, q wire.CardProof) (wire.CardLoad, error) {
	return post[wire.CardLoad](ctx, c, "/v1/loads/"+segment(id)+"/confirm", q)
}

// ReverseLoad finds out what became of an order whose acknowledgement is lost.
func (c *Client) ReverseLoad(ctx context.Context, id string, q wire.CardShown) (wire.CardLoad, error) {
	return post[wire.CardLoad](ctx, c, "/v1/loads/"+segment(id)+"/reverse", q)
}

// LoadMatters reads one page of the orders that wait for a decision, the oldest
// first. q narrows it: load, account, state, cursor, limit.
func (c *Client) LoadMatters(ctx context.Context, q url.Values) (wire.LoadMatters, error) {
	return get[wire.LoadMatters](ctx, c, withQuery("/v1/loads", q))
}

// DecideLoad decides about an order that waits. The same decision again is
// answered as it was.
func (c *Client) DecideLoad(ctx context.Context, q wire.LoadDecision) (wire.LoadMatter, error) {
	return post[wire.LoadMatter](ctx, c, "/v1/loads/decisions", q)
}
