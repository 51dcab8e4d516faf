package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/tapvault/tapvault/api/wire"
)

// AuditCheckpoint returns a signed checkpoint of the audit record.
func (c *Client) AuditCheckpoint(ctx context.Context) (wire.AuditCheckpoint, error) {
	return get[wire.AuditCheckpoint](ctx, c, "/v1/audit/checkpoint")
}

// AuditInclusion returns the proof that a line is in the record of a size.
func (c *Client) AuditInclusion(ctx context.Context, line, size int64) (wire.AuditInclusion, error) {
	return get[wire.AuditInclusion](ctx, c, fmt.Sprintf("/v1/audit/inclusion?line=%d&size=%d", line, size))
}

// AuditConsistency returns the proof that the record of one size goes on from
// that of another.
func (c *Client) AuditConsistency(ctx context.Context, from, to int64) (wire.AuditConsistency, error) {
	return get[wire.AuditConsistency](ctx, c, fmt.Sprintf("/v1/audit/consistency?from=%d&to=%d", from, to))
}

// AuditRecords reads lines of the audit record, the first ones for "".
func (c *Client) AuditRecords(ctx context.Context, cursor string) (wire.AuditRecords, error) {
	path := "/v1/audit/records"
	if cursor != "" {
		path += "?cursor=" + url.QueryEscape(cursor)
	}
	return get[wire.AuditRecords](ctx, c, path)
}

// AuditKeys reads the public keys that check checkpoints.
func (c *Client) AuditKeys(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/audit.json")
}
