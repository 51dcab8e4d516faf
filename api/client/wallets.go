package client

import (
	"context"

	"github.com/tapvault/tapvault/api/wire"
)

// OpenWallet opens a wallet and its account.
func (c *Client) OpenWallet(ctx context.Context, q wire.WalletRequest) (wire.Wallet, error) {
	return post[wire.Wallet](ctx, c, "/v1/wallets", q)
}

// Wallet reads a wallet.
func (c *Client) Wallet(ctx context.Context, id string) (wire.Wallet, error) {
	return get[wire.Wallet](ctx, c, "/v1/wallets/"+segment(id))
}

// BindToken gives a token to a wallet, for good.
func (c *Client) BindToken(ctx context.Context, id string, q wire.WalletToken) (wire.WalletToken, error) {
	return post[wire.WalletToken](ctx, c, "/v1/wallets/"+segment(id)+"/tokens", q)
}

// RestoreWallet takes a wallet out of suspension. It is the operator's to do.
func (c *Client) RestoreWallet(ctx context.Context, id, reason string) (wire.Wallet, error) {
	return post[wire.Wallet](ctx, c, "/v1/wallets/"+segment(id)+"/restore", wire.WalletMove{Reason: reason})
}

// CloseWallet ends a wallet.
func (c *Client) CloseWallet(ctx context.Context, id, reason string) (wire.Wallet, error) {
	return post[wire.Wallet](ctx, c, "/v1/wallets/"+segment(id)+"/close", wire.WalletMove{Reason: reason})
}

// Balances says what a wallet has, is held and owes.
func (c *Client) Balances(ctx context.Context, id string) (wire.Balances, error) {
	return get[wire.Balances](ctx, c, "/v1/wallets/"+segment(id)+"/balances")
}

// WalletTaps lists the last taps of a wallet.
func (c *Client) WalletTaps(ctx context.Context, id string) (wire.WalletTaps, error) {
	return get[wire.WalletTaps](ctx, c, "/v1/wallets/"+segment(id)+"/taps")
}

// Risk says what speaks against a wallet.
func (c *Client) Risk(ctx context.Context, id string) (wire.Risk, error) {
	return get[wire.Risk](ctx, c, "/v1/wallets/"+segment(id)+"/risk")
}

// AccountEvent tells of a top-up, web spending, a refund or a card.
func (c *Client) AccountEvent(ctx context.Context, id string, q wire.AccountEvent) (wire.Balances, error) {
	return post[wire.Balances](ctx, c, "/v1/accounts/"+segment(id)+"/events", q)
}

// Cases reads one page of cases, newest first.
func (c *Client) Cases(ctx context.Context, wallet, cursor string, limit int) (wire.CaseList, error) {
	q := query(cursor, limit)
	if wallet != "" {
		q.Set("wallet", wallet)
	}
	return get[wire.CaseList](ctx, c, withQuery("/v1/cases", q))
}

// Recon reconciles a day, written YYYY-MM-DD.
func (c *Client) Recon(ctx context.Context, date string) (wire.Recon, error) {
	return get[wire.Recon](ctx, c, "/v1/recon/"+segment(date))
}
