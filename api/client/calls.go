package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tapvault/tapvault/api/wire"
)

// post sends in to path and reads an answer of type T.
func post[T any](ctx context.Context, c *Client, path string, in any) (out T, err error) {
	err = c.call(ctx, http.MethodPost, path, in, &out)
	return out, err
}

func get[T any](ctx context.Context, c *Client, path string) (out T, err error) {
	err = c.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// RequestToken asks for a payment token for a card.
func (c *Client) RequestToken(ctx context.Context, q wire.TokenRequest) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens", q)
}

// Token reads one token.
func (c *Client) Token(ctx context.Context, ref string) (wire.Token, error) {
	return get[wire.Token](ctx, c, "/v1/tokens/"+segment(ref))
}

// Suspend stops a token from paying until [Client.Resume].
func (c *Client) Suspend(ctx context.Context, ref, reason string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/suspend", wire.Move{Reason: reason})
}

// Resume lets a suspended token pay again.
func (c *Client) Resume(ctx context.Context, ref, reason string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/resume", wire.Move{Reason: reason})
}

// Delete ends a token for good.
func (c *Client) Delete(ctx context.Context, ref, reason string) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/delete", wire.Move{Reason: reason})
}

// Bundle asks for slot keys, enciphered to deviceKey.
func (c *Client) Bundle(ctx context.Context, ref string, deviceKey wire.PublicKey) (wire.Bundle, error) {
	return post[wire.Bundle](ctx, c, "/v1/tokens/"+segment(ref)+"/bundles", wire.BundleRequest{DeviceKey: deviceKey})
}

// Ack tells the service that the device opened its bundle.
func (c *Client) Ack(ctx context.Context, ref string, q wire.Ack) (wire.Token, error) {
	return post[wire.Token](ctx, c, "/v1/tokens/"+segment(ref)+"/ack", q)
}

// Detokenize asks for the card number behind a token that was used.
func (c *Client) Detokenize(ctx context.Context, q wire.DetokenizeRequest) (wire.Detokenized, error) {
	return post[wire.Detokenized](ctx, c, "/v1/detokenize", q)
}

// UploadTaps hands in up to 500 taps of one terminal. Results keep the order.
func (c *Client) UploadTaps(ctx context.Context, terminal string, taps []wire.Tap) ([]wire.TapResult, error) {
	r, err := post[wire.TapResults](ctx, c, "/v1/terminals/"+segment(terminal)+"/taps", wire.Taps{Taps: taps})
	return r.Results, err
}

// UploadKept is UploadTaps for who keeps a tap that is answered DEFERRED, because something that
// the service has stored for it cannot be read, and sends it again later. UploadTaps fails then.
func (c *Client) UploadKept(ctx context.Context, terminal string, taps []wire.Tap) ([]wire.TapResult, error) {
	r, err := post[wire.TapResults](ctx, c, "/v1/terminals/"+segment(terminal)+"/taps", wire.Taps{Taps: taps, MayDefer: true})
	return r.Results, err
}

// Parameters reads what a terminal must hold to take phones.
func (c *Client) Parameters(ctx context.Context) (wire.Parameters, error) {
	return get[wire.Parameters](ctx, c, "/v1/terminals/parameters")
}

// PurchaseMAC1 makes the MAC1 of a purchase, as a PSAM would.
func (c *Client) PurchaseMAC1(ctx context.Context, q wire.Purchase) (wire.Hex4, error) {
	r, err := post[wire.MAC1](ctx, c, "/v1/cryptograms/purchase/mac1", q)
	return r.MAC1, err
}

// VerifyPurchase checks the MAC2 of a purchase, and its MAC1 and TAC where
// given. A MAC that does not hold is a problem of kind refused.
func (c *Client) VerifyPurchase(ctx context.Context, q wire.PurchaseVerify) error {
	_, err := post[wire.Verified](ctx, c, "/v1/cryptograms/purchase/verify", q)
	return err
}

// VerifyPurchases checks up to 500 purchases, each by itself. Results keep the
// order.
func (c *Client) VerifyPurchases(ctx context.Context, qs []wire.PurchaseVerify) ([]wire.PurchaseResult, error) {
	r, err := post[wire.PurchaseResults](ctx, c, "/v1/cryptograms/purchase/verify/batch", wire.PurchaseBatch{Purchases: qs})
	return r.Results, err
}

// VerifyTAC checks the TAC of a purchase, load or overdraft update.
func (c *Client) VerifyTAC(ctx context.Context, q wire.TACVerify) error {
	_, err := post[wire.Verified](ctx, c, "/v1/cryptograms/tac/verify", q)
	return err
}

// Load checks MAC1 and makes MAC2 of a load.
func (c *Client) Load(ctx context.Context, q wire.Load) (wire.Hex4, error) {
	r, err := post[wire.MAC2](ctx, c, "/v1/cryptograms/load", q)
	return r.MAC2, err
}

// Unload checks MAC1 and makes MAC2 of an unload.
func (c *Client) Unload(ctx context.Context, q wire.Unload) (wire.Hex4, error) {
	r, err := post[wire.MAC2](ctx, c, "/v1/cryptograms/unload", q)
	return r.MAC2, err
}

// VerifyUnload checks the MAC3 of an unload.
func (c *Client) VerifyUnload(ctx context.Context, q wire.UnloadVerify) error {
	_, err := post[wire.Verified](ctx, c, "/v1/cryptograms/unload/verify", q)
	return err
}

// Overdraft checks MAC1 and makes MAC2 of an overdraft-limit update.
func (c *Client) Overdraft(ctx context.Context, q wire.Overdraft) (wire.Hex4, error) {
	r, err := post[wire.MAC2](ctx, c, "/v1/cryptograms/overdraft", q)
	return r.MAC2, err
}

// Keys lists the HSM's keys.
func (c *Client) Keys(ctx context.Context) (wire.Keys, error) {
	return get[wire.Keys](ctx, c, "/v1/keys")
}

// Ready asks whether the service can serve; it needs no login. A service that
// is not ready answers which part is down.
func (c *Client) Ready(ctx context.Context) (wire.Health, error) {
	var h wire.Health
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.BaseURL+"/readyz", nil)
	if err != nil {
		return h, err
	}
	err = c.do(r, &h)
	if e := (*Error)(nil); errors.As(err, &e) && e.health.Status != "" {
		return e.health, nil
	}
	return h, err
}

// AuthorizationServer reads what the service says of itself to OAuth libraries
// (RFC 8414).
func (c *Client) AuthorizationServer(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/oauth-authorization-server")
}

// KeySet reads the public keys of the service's access tokens (RFC 7517).
func (c *Client) KeySet(ctx context.Context) (json.RawMessage, error) {
	return c.public(ctx, "/.well-known/jwks.json")
}
