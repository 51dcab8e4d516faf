package wallet_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// met does something once, before counters are taken.
type met struct {
	wallet.Tokens
	before func()
}

func (m *met) TakeCounters(ctx context.Context, ref token.Ref, n int) (uint16, error) {
	if do := m.before; do != nil {
		m.before = nil
		do()
	}
	return m.Tokens.TakeCounters(ctx, ref, n)
}

// looked does something once, after a token was read.
type looked struct {
	account.Tokens
	after func()
}

func (l *looked) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	t, err := l.Tokens.Token(ctx, ref)
	if do := l.after; do != nil {
		l.after = nil
		do()
	}
	return t, err
}

// TestBoundWhileProvisioned: a token that is bound to a wallet and provisioned without one at
// the same moment is one or the other. Slots of a bound token that no account paid for
// would suspend its holder's wallet with the first tap.
func TestBoundWhileProvisioned(t *testing.T) {
	keys := hsmtest.New(t, hsmtest.Options{})
	storetest.Dialects(t, func(t *testing.T, config func(testing.TB) store.Config) {
		cfg := config(t)
		db, other := storetest.Open(t, cfg), storetest.Open(t, cfg) // as of two processes
		v := vaulttest.On(t, db, keys)
		gate := audit.Gate{Recorder: &trail{}}
		book := tapdb.New(other, v.Clock.Now)
		direct, bound := &met{Tokens: v.Writer()}, &looked{Tokens: v.Writer()}
		accounts, err := account.New(account.Config{Tokens: bound, Keys: keys, Journal: book, Book: book, PINs: walletdb.NewPINs(other), Gate: gate,
			Realm: hsmtest.Realm, KeyVersions: []byte{1}, Zone: time.UTC, Now: v.Clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		bundles, err := wallet.New(wallet.Config{Tokens: direct, Keys: keys, Store: walletdb.New(db), Gate: gate,
			Bound: func(ctx context.Context, ref token.Ref) (bool, error) {
				m, err := book.Bound(ctx, ref)
				return m[ref] != "", err
			},
			Realm: hsmtest.Realm, KeyVersion: 1, Slots: 3, Cap: 1000, Issuer: [8]byte{0x10, 1}, Now: v.Clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		w, err := accounts.Open(t.Context(), caller, account.Opening{Requestor: "12345678901"})
		if err != nil {
			t.Fatal(err)
		}
		_, key := phone(t)
		bind := func(ref token.Ref) error {
			return accounts.Bind(t.Context(), caller, w.ID, ref, "dvAAAAAAAAAAAAAAAAAAAAAAAAAA")
		}
		provision := func(ref token.Ref) error {
			_, err := bundles.Bundle(t.Context(), caller, ref, key, access.Attempt{})
			return err
		}
		cards := 0
		fresh := func() token.Ref {
			cards++
			tok, err := v.Writer().Issue(t.Context(), v.Order(t, cards), "bank", access.Attempt{})
			if err != nil {
				t.Fatal(err)
			}
			return tok.Ref
		}
		check := func(name string, ref token.Ref, bindErr, directErr error) {
			t.Helper()
			m, err := book.Bound(t.Context(), ref)
			var n int64
			if err == nil {
				err = db.Read(t.Context()).Raw("SELECT COUNT(*) FROM bundles WHERE token_ref = ?", string(ref)).Scan(&n).Error
			}
			if err != nil {
				t.Fatal(err)
			}
			if (m[ref] != "") != (bindErr == nil) || (n > 0) != (directErr == nil) || bindErr == nil && directErr == nil {
				t.Errorf("%s: bound to %q (%v), %d bundles (%v)", name, m[ref], bindErr, n, directErr)
			}
		}

		ref := fresh()
		var inner error
		direct.before = func() { inner = bind(ref) }
		check("bound before its counters were taken", ref, inner, provision(ref))
		ref = fresh()
		bound.after = func() { inner = provision(ref) }
		check("provisioned before it was bound", ref, bind(ref), inner)
		for range 20 {
			ref := fresh()
			var g sync.WaitGroup
			var one, two error
			g.Go(func() { one = bind(ref) })
			g.Go(func() { two = provision(ref) })
			g.Wait()
			check("at once", ref, one, two)
		}
	})
}
