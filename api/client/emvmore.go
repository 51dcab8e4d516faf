package client

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
)

// MakeEMVValue makes a card verification value.
func (c *Client) MakeEMVValue(ctx context.Context, q wire.EMVValue) (string, error) {
	r, err := post[wire.EMVValueMade](ctx, c, "/v1/emv/values", q)
	return r.Value, err
}

// CheckEMVValue checks a card verification value; the counter of a dynamic one
// is taken.
func (c *Client) CheckEMVValue(ctx context.Context, q wire.EMVValueCheck) error {
	_, err := post[wire.Verified](ctx, c, "/v1/emv/values/verify", q)
	return err
}

// MakeEMVValues makes up to 500 values. Results keep the order.
func (c *Client) MakeEMVValues(ctx context.Context, qs []wire.EMVValue) ([]wire.EMVValueResult, error) {
	r, err := post[wire.EMVValueResults](ctx, c, "/v1/emv/values/batch", wire.EMVValueBatch{Values: qs})
	return r.Results, err
}

// CheckEMVValues checks up to 500 values. Results keep the order.
func (c *Client) CheckEMVValues(ctx context.Context, qs []wire.EMVValueCheck) ([]wire.EMVValueResult, error) {
	r, err := post[wire.EMVValueResults](ctx, c, "/v1/emv/values/verify/batch", wire.EMVValueCheckBatch{Values: qs})
	return r.Results, err
}

// SignEMVScript enciphers and signs commands for a card.
func (c *Client) SignEMVScript(ctx context.Context, q wire.EMVScript) ([]wire.EMVSigned, error) {
	r, err := post[wire.EMVScriptMade](ctx, c, "/v1/emv/scripts", q)
	return r.Commands, err
}

// SignEMVScripts does so for up to 500 scripts. Results keep the order.
func (c *Client) SignEMVScripts(ctx context.Context, qs []wire.EMVScript) ([]wire.EMVScriptResult, error) {
	r, err := post[wire.EMVScriptResults](ctx, c, "/v1/emv/scripts/batch", wire.EMVScriptBatch{Scripts: qs})
	return r.Results, err
}

// MakeTokenCryptogram makes the cryptogram of a purchase without a reader.
func (c *Client) MakeTokenCryptogram(ctx context.Context, q wire.EMVPurchase) (wire.EMVPurchaseMade, error) {
	return post[wire.EMVPurchaseMade](ctx, c, "/v1/emv/token-cryptograms", q)
}

// UseTokenCryptogram checks it, once.
func (c *Client) UseTokenCryptogram(ctx context.Context, q wire.EMVPurchaseCheck) error {
	_, err := post[wire.Verified](ctx, c, "/v1/emv/token-cryptograms/verify", q)
	return err
}

// JudgePhone checks both cryptograms of a phone: GOOD or WRONG_PIN.
func (c *Client) JudgePhone(ctx context.Context, q wire.EMVPhone) (string, error) {
	r, err := post[wire.EMVVerdict](ctx, c, "/v1/emv/phones/verify", q)
	return r.Verdict, err
}
