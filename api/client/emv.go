package client

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
)

// AuthoriseEMV checks the cryptogram of a transaction, takes its counter, and
// makes the issuer's answer.
func (c *Client) AuthoriseEMV(ctx context.Context, q wire.EMVRequest) (wire.EMVResponse, error) {
	return post[wire.EMVResponse](ctx, c, "/v1/emv/arqc", q)
}

// AuthoriseEMVBatch does so for up to 500 transactions. Results keep the order.
func (c *Client) AuthoriseEMVBatch(ctx context.Context, qs []wire.EMVRequest) ([]wire.EMVResult, error) {
	r, err := post[wire.EMVResults](ctx, c, "/v1/emv/arqc/batch", wire.EMVBatch{Transactions: qs})
	return r.Results, err
}

// VerifyEMV checks a card's cryptogram and takes no counter.
func (c *Client) VerifyEMV(ctx context.Context, q wire.EMVTransaction) error {
	_, err := post[wire.Verified](ctx, c, "/v1/emv/verify", q)
	return err
}

// VerifyEMVBatch does so for up to 500 transactions. Results keep the order.
func (c *Client) VerifyEMVBatch(ctx context.Context, qs []wire.EMVTransaction) ([]wire.EMVVerifyResult, error) {
	r, err := post[wire.EMVVerifyResults](ctx, c, "/v1/emv/verify/batch", wire.EMVVerifyBatch{Transactions: qs})
	return r.Results, err
}

// ExplainEMV asks why a cryptogram does not hold.
func (c *Client) ExplainEMV(ctx context.Context, q wire.EMVTransaction) (wire.EMVExplanation, error) {
	return post[wire.EMVExplanation](ctx, c, "/v1/emv/explain", q)
}
