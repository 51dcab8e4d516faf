package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/tapvault/tapvault/api/wire"
)

// maxDocument bounds a deny list: a million entries.
const maxDocument = 32 << 20

// DenySnapshot reads the whole deny list, signed; nil when tag is its entity tag.
func (c *Client) DenySnapshot(ctx context.Context, tag string) ([]byte, error) {
	return c.document(ctx, "/v1/denylist/snapshot", tag)
}

// DenyDelta reads what leads on from a version of the deny list, signed; nil
// when tag is the newest entity tag. When nothing leads on, the problem is of
// kind list-too-old.
func (c *Client) DenyDelta(ctx context.Context, from uint64, tag string) ([]byte, error) {
	return c.document(ctx, "/v1/denylist/delta?from="+strconv.FormatUint(from, 10), tag)
}

// TerminalPolicy reads what terminals are told, signed.
func (c *Client) TerminalPolicy(ctx context.Context) ([]byte, error) {
	return c.document(ctx, "/v1/terminals/policy", "")
}

// DenyKeys reads the public keys of deny lists and terminal policies.
func (c *Client) DenyKeys(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/denylist.json")
}

// OrderDenial orders an entry of the deny list, or switches things off.
func (c *Client) OrderDenial(ctx context.Context, q wire.DenyOrder) (wire.DenyVersion, error) {
	return post[wire.DenyVersion](ctx, c, "/v1/denylist/entries", q)
}

// Progress says that the terminal of a number has uploaded every tap it took
// before a moment.
func (c *Client) Progress(ctx context.Context, terminal string, q wire.Progress) (wire.Progressed, error) {
	return post[wire.Progressed](ctx, c, "/v1/terminals/"+segment(terminal)+"/progress", q)
}

// Authorize has a tap judged while the rider waits.
func (c *Client) Authorize(ctx context.Context, terminal string, tap wire.Tap) (wire.Authorized, error) {
	return post[wire.Authorized](ctx, c, "/v1/terminals/"+segment(terminal)+"/authorize", wire.Authorize{Tap: tap})
}

// document reads bytes as they are; nil when tag is theirs.
func (c *Client) document(ctx context.Context, path, tag string) ([]byte, error) {
	for try := 0; ; try++ {
		token, err := c.AccessToken(ctx)
		if err != nil {
			return nil, err
		}
		b, err := c.fetch(ctx, path, tag, token)
		var e *Error
		if try == 0 && errors.As(err, &e) && e.Status == http.StatusUnauthorized {
			c.forget(token)
			continue
		}
		return b, err
	}
}

func (c *Client) fetch(ctx context.Context, path, tag, token string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.BaseURL+path, nil)
	if err != nil {
		return nil, fmt.Errorf("building request: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	resp, err := c.cfg.HTTP.Do(r)
	if err != nil {
		return nil, fmt.Errorf("calling the service: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case resp.StatusCode == http.StatusNotModified:
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, problem(resp.StatusCode, b)
	}
	return b, nil
}
