package account_test

import (
	"context"
	"testing"
	"time"

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

// TestDetectionFollowsALongerWindow: a token whose window became longer since it was bound
// still pays after the end that it had then, and is held back.
func TestDetectionFollowsALongerWindow(t *testing.T) {
	l := newWalletLab(t)
	w, tok, slots := l.ready()
	to := tok.NotAfter.Add(48 * time.Hour)
	now := l.tokenState(tok.Ref)
	change := token.Change{Ref: tok.Ref, From: now.State, Revision: now.Revision, Verb: token.Update, At: l.vault.Clock.Now(),
		Set: token.Attributes{NotAfter: &to}, Expiry: tok.Expiry}
	if _, err := l.vault.Writer().Change(t.Context(), change, "bank", access.Attempt{}); err != nil {
		t.Fatal(err)
	}
	l.vault.Clock.Set(tok.NotAfter.Add(time.Hour))
	slots = l.sync(w, tok.Ref, tierA, words(slots)...).Grant.Slots
	l.one(l.ride(tok, slots[0]))
	l.one(l.ride(tok, slots[0], func(x *account.Tap) { x.Rand[3]++; x.Amount = 300 })) // a fork
	l.stands("a fork after the first end", w, tok.Ref, account.WalletSuspended, token.ByRisk)
}
