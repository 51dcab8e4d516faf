package client

import (
	"context"
	"encoding/json"

	"github.com/tapvault/tapvault/api/wire"
)

// Enrol takes a phone in.
func (c *Client) Enrol(ctx context.Context, q wire.Enrolment) (wire.Device, error) {
	return post[wire.Device](ctx, c, "/v1/devices", q)
}

// Attest has a device judged by a new attestation.
func (c *Client) Attest(ctx context.Context, device string, a wire.Attestation) (wire.Device, error) {
	return post[wire.Device](ctx, c, "/v1/devices/"+segment(device)+"/attestation", a)
}

// SetPIN gives a wallet its first PIN.
func (c *Client) SetPIN(ctx context.Context, wallet string, q wire.PINSet) (wire.PIN, error) {
	return post[wire.PIN](ctx, c, "/v1/wallets/"+segment(wallet)+"/pin", q)
}

// VerifyPIN checks a sealed PIN.
func (c *Client) VerifyPIN(ctx context.Context, wallet string, q wire.PINVerify) (wire.PIN, error) {
	return post[wire.PIN](ctx, c, "/v1/wallets/"+segment(wallet)+"/pin/verify", q)
}

// ChangePIN replaces a PIN; the wallet's tokens are deleted.
func (c *Client) ChangePIN(ctx context.Context, wallet string, q wire.PINChange) (wire.PIN, error) {
	return post[wire.PIN](ctx, c, "/v1/wallets/"+segment(wallet)+"/pin/change", q)
}

// ResetPIN lets a holder who forgot the PIN set a new one. It is for operators.
func (c *Client) ResetPIN(ctx context.Context, wallet string) error {
	_, err := post[wire.Health](ctx, c, "/v1/wallets/"+segment(wallet)+"/pin/reset", wire.Renewal{})
	return err
}

// Sync brings a phone and its account in step.
func (c *Client) Sync(ctx context.Context, q wire.Sync) (wire.Synced, error) {
	return post[wire.Synced](ctx, c, "/v1/sync", q)
}

// SyncKeys reads the public keys that phones seal taps to (RFC 7517).
func (c *Client) SyncKeys(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/sync.json")
}
