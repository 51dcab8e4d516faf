package wallet_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/vaulttest"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

var caller = access.Caller{ID: "w1", Role: access.Wallet, Scopes: access.ForRole(access.Wallet)}

// trail keeps what the gate records.
type trail struct {
	mu      sync.Mutex
	entries []audit.Entry
	fail    error
}

func (r *trail) Record(_ context.Context, e audit.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return r.fail
}

// refused reports whether an action was refused for this reason.
func (r *trail) refused(reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.entries, func(e audit.Entry) bool { return e.Outcome == audit.Refused && e.Reason == reason })
}

// rig is the service over a real vault, HSM and database.
type rig struct {
	*wallet.Service
	cfg    wallet.Config
	vault  *vaulttest.Fixture
	tokens *vault.Writer
	hsm    *hsm.Token
	trail  *trail
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{hsm: hsmtest.New(t, hsmtest.Options{}), trail: &trail{}}
	db := storetest.New(t)
	r.vault = vaulttest.On(t, db, r.hsm)
	r.tokens = r.vault.Writer()
	r.cfg = wallet.Config{Tokens: r.tokens, Keys: r.hsm, Store: walletdb.New(db), Gate: audit.Gate{Recorder: r.trail},
		Realm: hsmtest.Realm, KeyVersion: 1, Slots: 3, Cap: 1000, Issuer: [8]byte{0x10, 1}, Now: r.vault.Clock.Now}
	r.Service = r.with(t, r.cfg)
	return r
}

func (r *rig) with(t testing.TB, cfg wallet.Config) *wallet.Service {
	t.Helper()
	s, err := wallet.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// token issues the token of the nth card.
func (r *rig) token(t testing.TB, n int) token.Token {
	t.Helper()
	tok, err := r.tokens.Issue(t.Context(), r.vault.Order(t, n), "bank", access.Attempt{})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (r *rig) read(t testing.TB, ref token.Ref) token.Token {
	t.Helper()
	tok, err := r.tokens.Token(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// phone is a device with its public key.
func phone(t testing.TB) (*bundle.Device, []byte) {
	t.Helper()
	d, err := bundle.NewDevice(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := d.PublicJWK()
	if err != nil {
		t.Fatal(err)
	}
	return d, jwk
}

var errBroken = errors.New("cable cut")

// broken fails in the call named at, before or after it takes effect.
type broken struct {
	tokens wallet.Tokens
	keys   wallet.Keys
	store  wallet.Store
	at     string
	after  bool
}

// fails runs do unless the call is to fail before it.
func (b *broken) fails(name string, do func() error) error {
	if b.at != name {
		return do()
	}
	if b.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errBroken
}

type brokenTokens struct{ *broken }

func (b brokenTokens) Token(ctx context.Context, ref token.Ref) (token.Token, error) {
	return b.tokens.Token(ctx, ref)
}

func (b brokenTokens) TakeCounters(ctx context.Context, ref token.Ref, n int) (first uint16, err error) {
	return first, b.fails("TakeCounters", func() error { first, err = b.tokens.TakeCounters(ctx, ref, n); return err })
}

func (b brokenTokens) Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (t token.Token, err error) {
	return t, b.fails("Move", func() error { t, err = b.tokens.Move(ctx, ref, from, v, at); return err })
}

type brokenKeys struct{ *broken }

func (b brokenKeys) SlotKeys(ctx context.Context, p keyref.Path, uds []keyref.Factor) (k [][16]byte, err error) {
	return k, b.fails("SlotKeys", func() error { k, err = b.keys.SlotKeys(ctx, p, uds); return err })
}

func (b brokenKeys) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) (m [32]byte, err error) {
	return m, b.fails("HMAC", func() error { m, err = b.keys.HMAC(ctx, ref, msg); return err })
}

func (b brokenKeys) Sign(ctx context.Context, ref keyref.Ref, d [32]byte) (s [64]byte, err error) {
	return s, b.fails("Sign", func() error { s, err = b.keys.Sign(ctx, ref, d); return err })
}

type brokenStore struct{ *broken }

func (b brokenStore) Find(ctx context.Context, c string, a access.Attempt) (wallet.Bundle, bool, error) {
	return b.store.Find(ctx, c, a)
}

func (b brokenStore) Insert(ctx context.Context, c string, a access.Attempt, in wallet.Bundle, at time.Time) (out wallet.Bundle, err error) {
	return out, b.fails("Insert", func() error { out, err = b.store.Insert(ctx, c, a, in, at); return err })
}

func (b brokenStore) Bundle(ctx context.Context, id string) (wallet.Bundle, error) {
	return b.store.Bundle(ctx, id)
}

func (b brokenStore) Acknowledge(ctx context.Context, id string, at time.Time) error {
	return b.fails("Acknowledge", func() error { return b.store.Acknowledge(ctx, id, at) })
}

// breaking returns the service with one call broken.
func (r *rig) breaking(t testing.TB, at string, after bool) *wallet.Service {
	b := &broken{tokens: r.cfg.Tokens, keys: r.cfg.Keys, store: r.cfg.Store, at: at, after: after}
	cfg := r.cfg
	cfg.Tokens, cfg.Keys, cfg.Store = brokenTokens{b}, brokenKeys{b}, brokenStore{b}
	return r.with(t, cfg)
}
