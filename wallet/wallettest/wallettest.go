// Package wallettest issues real bundles to handsets in tests and examples,
// from slot masters held in memory.
package wallettest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// What an [Issuer] is made of.
const (
	Realm  = "transit"
	Number = "3104201234567890123" // of the first token
	Ref    = token.Ref("tok-1")
	Slots  = 3
	Cap    = token.Amount(1000)
)

// IssuerID is the issuer of file 0015.
var IssuerID = [8]byte{0x10, 0x00, 0x20, 0x00, 0x30, 0x00, 0x40, 0x01}

// PurchaseMaster and TACMaster name the slot masters.
var (
	PurchaseMaster = keyref.Ref{Realm: Realm, Usage: keyref.SlotPurchaseMaster, Version: 1}
	TACMaster      = keyref.Ref{Realm: Realm, Usage: keyref.SlotTACMaster, Version: 1}
)

// Caller may do what a wallet may.
var Caller = access.Caller{ID: "wallet-1", Role: access.Wallet, Scopes: access.ForRole(access.Wallet)}

// Keys is a [wallet.Keys] in memory: the same derivation as an HSM's.
type Keys struct {
	Ring   *softkey.Ring
	Signer *ecdsa.PrivateKey
	script [32]byte
	above  softkey.Ring // the same masters as card masters, see SlotKeys
}

// twins names each slot master as a card master.
var twins = map[keyref.Ref]keyref.Ref{
	PurchaseMaster: {Realm: Realm, Usage: keyref.PurchaseMaster, Version: 1},
	TACMaster:      {Realm: Realm, Usage: keyref.TACMaster, Version: 1},
}

// NewKeys draws slot masters and signing key at random.
func NewKeys(ctx context.Context) (*Keys, error) {
	k := &Keys{Ring: &softkey.Ring{}}
	for ref, twin := range twins {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		if err := errors.Join(k.Ring.ImportScratch(ctx, ref, b[:]), k.above.ImportScratch(ctx, twin, b[:])); err != nil {
			return nil, err
		}
	}
	_, _ = rand.Read(k.script[:])
	var err error
	k.Signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k, err
}

// SlotKeys implements [wallet.Keys]. A ring uses slot masters at three levels
// only, as an HSM does, and the key at two makes the slots: so it is the twin's.
func (k *Keys) SlotKeys(ctx context.Context, path keyref.Path, uds []keyref.Factor) ([][16]byte, error) {
	path.Key = twins[path.Key]
	keys := make([][16]byte, len(uds))
	for i, f := range uds {
		for half := range 2 {
			block, err := k.above.Encipher(ctx, path, f)
			if err != nil {
				return nil, err
			}
			copy(keys[i][8*half:], block[:])
			for j := range f {
				f[j] = ^f[j]
			}
		}
	}
	return keys, nil
}

// HMAC implements [wallet.Keys].
func (k *Keys) HMAC(_ context.Context, _ keyref.Ref, msg []byte) ([32]byte, error) {
	m := hmac.New(sha256.New, k.script[:])
	m.Write(msg)
	return [32]byte(m.Sum(nil)), nil
}

// Sign implements [wallet.Keys].
func (k *Keys) Sign(_ context.Context, _ keyref.Ref, digest [32]byte) (sig [64]byte, err error) {
	r, s, err := ecdsa.Sign(rand.Reader, k.Signer, digest[:])
	if err != nil {
		return sig, err
	}
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig, nil
}

// Tokens is a [wallet.Tokens] of a few tokens in memory.
type Tokens struct {
	mu sync.Mutex
	m  map[token.Ref]token.Token
}

// Put adds or replaces a token.
func (s *Tokens) Put(t token.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[token.Ref]token.Token{}
	}
	s.m[t.Ref] = t
}

// Token implements [wallet.Tokens].
func (s *Tokens) Token(_ context.Context, ref token.Ref) (token.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.m[ref]
	if !ok {
		return t, wallet.ErrUnknown
	}
	return t, nil
}

// TakeCounters implements [wallet.Tokens].
func (s *Tokens) TakeCounters(_ context.Context, ref token.Ref, n int) (uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.m[ref]
	first := t.CtrNext
	t.CtrNext += uint16(n)
	s.m[ref] = t
	return first, nil
}

// Move implements [wallet.Tokens].
func (s *Tokens) Move(_ context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.m[ref]
	next, ok := t.State.Next(v)
	if t.State != from || !ok {
		return token.Token{}, wallet.ErrState
	}
	t.State, t.ChangedAt = next, at
	s.m[ref] = t
	return t, nil
}

// forgetful records nothing.
type forgetful struct{}

// Record implements [audit.Recorder].
func (forgetful) Record(context.Context, audit.Entry) error { return nil }

// Issuer is a wallet service over memory keys, a token good for a day, and a
// real store of bundles.
type Issuer struct {
	Service *wallet.Service
	Keys    *Keys
	Tokens  *Tokens
	Pinned  credential.Keys
	now     time.Time
	db      *store.DB
}

// New makes an issuer whose files lie in dir and whose clock stands at now, the
// middle of the token's day.
func New(ctx context.Context, dir string, now time.Time) (*Issuer, error) {
	keys, err := NewKeys(ctx)
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, store.Config{DSN: filepath.Join(dir, "wallet.db")})
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("migrating: %w", err)
	}
	i := &Issuer{Keys: keys, Tokens: &Tokens{}, Pinned: credential.Keys{1: &keys.Signer.PublicKey}, now: now, db: db}
	n, err := token.ParseNumber(Number)
	if err != nil {
		return nil, err
	}
	i.Tokens.Put(token.Token{Ref: Ref, Number: n, Requestor: "12345678901", State: token.Requested,
		NotBefore: now.Add(-12 * time.Hour), NotAfter: now.Add(12 * time.Hour), CtrFirst: 1, CtrNext: 1})
	i.Service, err = wallet.New(i.Config(keys))
	return i, err
}

// Config is the service's configuration over other keys.
func (i *Issuer) Config(keys wallet.Keys) wallet.Config {
	db := walletdb.New(i.db)
	return wallet.Config{Tokens: i.Tokens, Keys: keys, Store: db, Granted: db, Gate: audit.Gate{Recorder: forgetful{}},
		Realm: Realm, KeyVersion: 1, Slots: Slots, Cap: Cap, Issuer: IssuerID, AppType: 2, AppVersion: 1,
		Now: func() time.Time { return i.now }}
}

// Close closes the store.
func (i *Issuer) Close() error { return i.db.Close() }

// Provision gives a new device a bundle under the first token.
func (i *Issuer) Provision(ctx context.Context) (*bundle.Bundle, error) {
	d, err := bundle.NewDevice(rand.Reader)
	if err != nil {
		return nil, err
	}
	jwk, err := d.PublicJWK()
	if err != nil {
		return nil, err
	}
	b, err := i.Service.Bundle(ctx, Caller, Ref, jwk, access.Attempt{})
	if err != nil {
		return nil, err
	}
	return d.Open(b.JWE)
}
