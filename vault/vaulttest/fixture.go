// Package vaulttest is the contract every vault dialect must meet.
//
// It also gives other packages' tests a vault to work with: a real one, over a
// database and an HSM token of the test's own.
package vaulttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/vault"
)

// Transit is the range that fixtures issue from, and Cards the range of their
// cards.
var (
	Transit = vault.Range{Name: "transit", Prefix: "910001", Length: 16, Luhn: true}
	Cards   = vault.CardRange{Prefix: "622848", Length: 16}
)

// Start is when the clock of a fixture starts: a day at noon.
var Start = time.Date(2026, time.March, 2, 4, 0, 0, 0, time.UTC)

// Clock is a clock that tests move.
type Clock struct{ at atomic.Int64 }

// NewClock returns a clock that shows t.
func NewClock(t time.Time) *Clock {
	c := new(Clock)
	c.Set(t)
	return c
}

// Now is the time.
func (c *Clock) Now() time.Time { return time.Unix(0, c.at.Load()).UTC() }

// Set moves the clock.
func (c *Clock) Set(t time.Time) { c.at.Store(t.UnixNano()) }

// Add moves the clock on.
func (c *Clock) Add(d time.Duration) { c.at.Add(int64(d)) }

// Fixture is a vault and what it stands on.
type Fixture struct {
	*vault.Vault
	DB    *store.DB
	HSM   vault.Sealer
	Clock *Clock
	cfg   vault.Config
}

// Keys are the keys of the HSM that a vault uses.
func Keys() []keyref.Ref { return vault.Keys{}.Refs() }

// New returns a fixture over a fresh SQLite database and a fresh HSM token
// that holds the vault's keys only. The options change the configuration.
func New(t testing.TB, options ...func(*vault.Config)) *Fixture {
	t.Helper()
	return On(t, storetest.New(t), hsmtest.New(t, hsmtest.Options{Refs: Keys()}), options...)
}

// On is New over a given database and HSM.
func On(t testing.TB, db *store.DB, hsm vault.Sealer, options ...func(*vault.Config)) *Fixture {
	t.Helper()
	f := &Fixture{DB: db, HSM: hsm, Clock: NewClock(Start)}
	f.cfg = vault.Config{DB: db, HSM: hsm, Ranges: []vault.Range{Transit}, CardRanges: []vault.CardRange{Cards},
		BINController: "TV01", Now: f.Clock.Now, LeaseBlock: 8}
	for _, o := range options {
		o(&f.cfg)
	}
	var err error
	if f.Vault, err = vault.Open(t.Context(), f.cfg); err != nil {
		t.Fatal(err)
	}
	return f
}

// Again opens another vault over the same database and HSM, as another process
// would.
func (f *Fixture) Again(t testing.TB, options ...func(*vault.Config)) *Fixture {
	t.Helper()
	cfg := f.cfg
	for _, o := range options {
		o(&cfg)
	}
	v, err := vault.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &Fixture{v, f.DB, f.HSM, f.Clock, cfg}
}

// Card returns the nth card of [Cards].
func Card(t testing.TB, n int) token.PAN {
	t.Helper()
	s := fmt.Sprintf("%s%0*d", Cards.Prefix, Cards.Length-len(Cards.Prefix)-1, n)
	pan, err := token.ParsePAN(s + string(token.LuhnDigit(s)))
	if err != nil {
		t.Fatal(err)
	}
	return pan
}

// Order returns an order for the nth card, good from now for a day.
func (f *Fixture) Order(t testing.TB, n int) token.Order {
	t.Helper()
	ref, err := token.DrawRef(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token.Order{Ref: ref, Requestor: "12345678901", PAN: Card(t, n), CardExpiry: "2912", Location: token.LocationDevice,
		Expiry: "2603", NotBefore: f.Clock.Now(), NotAfter: f.Clock.Now().Add(24 * time.Hour)}
}

// ErrBroken is what a [Flaky] HSM fails with.
var ErrBroken = errors.New("vaulttest: broken on purpose")

// Flaky is a real HSM whose calls fail when they are told to: before they have
// an effect, or after.
type Flaky struct {
	vault.Sealer
	mu     sync.Mutex
	before string
	after  string
}

// Break makes the named call ("Seal", "Unseal", "HMAC", "Random") fail from now
// on, before or after it has taken effect. An empty name mends everything.
func (f *Flaky) Break(call string, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = "", ""
	if after {
		f.after = call
	} else {
		f.before = call
	}
}

// do runs a call, or fails around it.
func (f *Flaky) do(name string, call func() error) error {
	f.mu.Lock()
	before, after := f.before == name, f.after == name
	f.mu.Unlock()
	if before {
		return ErrBroken
	}
	if err := call(); err != nil {
		return err
	}
	if after {
		return ErrBroken
	}
	return nil
}

// Seal is the HSM's, or fails.
func (f *Flaky) Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) (out []byte, err error) {
	err = f.do("Seal", func() error { out, err = f.Sealer.Seal(ctx, ref, plaintext, aad); return err })
	return out, err
}

// Unseal is the HSM's, or fails.
func (f *Flaky) Unseal(ctx context.Context, ref keyref.Ref, sealed, aad []byte) (out []byte, err error) {
	err = f.do("Unseal", func() error { out, err = f.Sealer.Unseal(ctx, ref, sealed, aad); return err })
	return out, err
}

// HMAC is the HSM's, or fails.
func (f *Flaky) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) (out [32]byte, err error) {
	err = f.do("HMAC", func() error { out, err = f.Sealer.HMAC(ctx, ref, msg); return err })
	return out, err
}

// Random is the HSM's, or fails.
func (f *Flaky) Random(ctx context.Context, b []byte) error {
	return f.do("Random", func() error { return f.Sealer.Random(ctx, b) })
}
