package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tapvault/tapvault/api/wire"
)

// RequestTokens asks for up to 500 tokens. Results keep the order; one that
// fails spoils no other.
func (c *Client) RequestTokens(ctx context.Context, requests []wire.TokenRequest) ([]wire.TokenResult, error) {
	r, err := post[wire.TokenResults](ctx, c, "/v1/tokens/batch", wire.TokenBatch{Tokens: requests})
	return r.Results, err
}

// TokenFilter says which tokens [Client.Tokens] looks for. What is empty is not
// asked about.
type TokenFilter struct {
	Ref, PAR, Requestor, Last4, State string
}

// Tokens reads one page of tokens, newest first; cursor is "" for the first one
// and then what the page before named as the next.
func (c *Client) Tokens(ctx context.Context, f TokenFilter, cursor string, limit int) (wire.TokenList, error) {
	q := query(cursor, limit)
	for name, value := range map[string]string{"ref": f.Ref, "par": f.PAR, "requestor": f.Requestor, "last4": f.Last4, "state": f.State} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[wire.TokenList](ctx, c, withQuery("/v1/tokens", q))
}

// Events reads one page of what happened to tokens; cursor is "" for the first
// page and then what the page before named as the next, also after an empty one.
func (c *Client) Events(ctx context.Context, cursor string, limit int) (wire.EventList, error) {
	return get[wire.EventList](ctx, c, withQuery("/v1/events", query(cursor, limit)))
}

// query holds what every list takes; a limit of 0 leaves it to the service.
func query(cursor string, limit int) url.Values {
	q := url.Values{}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// Renew fetches the token that follows ref.
func (c *Client) Renew(ctx context.Context, ref string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/renew", wire.Renewal{})
}

// SuspendAs suspends in the name of by: HOLDER, PIN_LOCK and so on.
func (c *Client) SuspendAs(ctx context.Context, ref, by, reason string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/suspend", wire.Move{Reason: reason, By: by})
}

// ResumeAs lets go in the name of by. The token pays again once nobody holds it.
func (c *Client) ResumeAs(ctx context.Context, ref, by, reason string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/resume", wire.Move{Reason: reason, By: by})
}

// UpdateToken changes attributes of a token.
func (c *Client) UpdateToken(ctx context.Context, ref string, set wire.Attributes) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/attributes", set)
}

// Decide says what the card's issuer decided: APPROVED, STEP_UP or DECLINED.
func (c *Client) Decide(ctx context.Context, ref, decision string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/decision", wire.Decision{Decision: decision})
}

// Notify says how provisioning went: SUCCESS or FAILURE.
func (c *Client) Notify(ctx context.Context, ref, result, reason string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/notice", wire.Notice{Result: result, Reason: reason})
}

// ReplaceCard puts a new card behind every living token of an old one.
func (c *Client) ReplaceCard(ctx context.Context, q wire.ReplaceCard) (wire.ReplacedCard, error) {
	return post[wire.ReplacedCard](ctx, c, "/v1/cards/replace", q)
}

// PAR asks for a card's payment account reference.
func (c *Client) PAR(ctx context.Context, q wire.PAREnquiry) (string, error) {
	r, err := post[wire.PAR](ctx, c, "/v1/par", q)
	return r.PAR, err
}

// DetokenizeBatch asks for up to 500 card numbers, for one purpose that stands
// outside the queries. Results keep the order.
func (c *Client) DetokenizeBatch(ctx context.Context, purpose string, queries []wire.DetokenizeRequest) ([]wire.DetokenizeResult, error) {
	r, err := post[wire.DetokenizeResults](ctx, c, "/v1/detokenize/batch", wire.DetokenizeBatch{Purpose: purpose, Queries: queries})
	return r.Results, err
}

// DetokenizeDirect asks for a card number without evidence of a tap.
func (c *Client) DetokenizeDirect(ctx context.Context, q wire.DirectRequest) (wire.Detokenized, error) {
	return post[wire.Detokenized](ctx, c, "/v1/detokenize/direct", q)
}

// DetokenizeDirectBatch is [Client.DetokenizeDirect] for up to 500 tokens.
func (c *Client) DetokenizeDirectBatch(ctx context.Context, purpose string, queries []wire.DirectRequest) ([]wire.DetokenizeResult, error) {
	r, err := post[wire.DetokenizeResults](ctx, c, "/v1/detokenize/direct/batch", wire.DirectBatch{Purpose: purpose, Queries: queries})
	return r.Results, err
}

// Ranges reads what is left of the token ranges.
func (c *Client) Ranges(ctx context.Context) ([]wire.Capacity, error) {
	r, err := get[wire.Ranges](ctx, c, "/v1/ranges")
	return r.Ranges, err
}

// IntakeKeys reads the public keys to seal card numbers to (RFC 7517).
func (c *Client) IntakeKeys(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/intake.json")
}

// WebhookKeys reads the public keys that check the signatures of webhooks.
func (c *Client) WebhookKeys(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/webhooks.json")
}

// ResultKeys reads the public keys that check signed results.
func (c *Client) ResultKeys(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/results.json")
}

// public reads what needs no login.
func (c *Client) public(ctx context.Context, path string) (json.RawMessage, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.BaseURL+path, nil)
	if err != nil {
		return nil, err
	}
	var set json.RawMessage
	err = c.do(r, &set)
	return set, err
}
