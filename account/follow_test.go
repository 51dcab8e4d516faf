package account_test

import (
	"context"
	"testing"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// busyTokens is a vault in which somebody was always faster.
type busyTokens struct{ account.Tokens }

func (busyTokens) Change(context.Context, token.Change, string, access.Attempt) (token.Token, error) {
	return token.Token{}, vault.ErrConflict
}

// TestDetectionFollowsRenewals: what is held back because of a fork holds back
// the token that was fetched ahead, and waits while it cannot be done.
func TestDetectionFollowsRenewals(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	next := l.after(w, tok)
	whole := l.broken.Tokens
	l.broken.Tokens = busyTokens{whole}
	l.one(l.ride(tok, slots[0]))
	l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 })) // a fork
	if _, err := l.Redo(t.Context()); err == nil {
		t.Error("a token that others kept changing was passed over")
	}
	l.stands("while others keep changing it", w, tok.Ref, account.WalletActive)
	l.broken.Tokens = whole
	if _, err := l.Redo(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.stands("a fork", w, tok.Ref, account.WalletSuspended, token.ByRisk)
	l.stands("the token that follows", w, next.Ref, account.WalletSuspended, token.ByRisk)
}
