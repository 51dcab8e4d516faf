// Package wallet provisions handsets with bundles of limited-use keys.
//
// A bundle is 2 to 64 slots, each good for one purchase, sealed to a P-256 key that the
// handset made (JWE, ECDH-ES+A256KW with A256GCM). Making one takes counters first,
// stores the sealed bundle next and moves the token last: a crash between two steps loses
// counters and nothing else, and asking again gives the stored bundle.
//
// Methods that take a caller ask the gate themselves. Those for other services of the
// wallet ([Service.Make], [Service.Certify], [Service.Orders]) do not: their callers
// have asked it.
package wallet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Errors of this package.
var (
	// ErrUnknown reports a token or bundle that does not exist or is another requestor's.
	ErrUnknown   = fault.New(fault.TokenUnknown, "no such token, or no such bundle under it")
	ErrSuspended = fault.New(fault.TokenSuspended, "the token is suspended")
	ErrExpired   = fault.New(fault.TokenExpired, "the token's window has closed")
	ErrState     = fault.New(fault.TokenState, "the token's state does not allow this")
	// ErrDeviceKey reports a device key that [ParseKey] does not take.
	ErrDeviceKey = fault.New(fault.Malformed, "device key is not a public EC P-256 JWK")
	// ErrRefused is the one answer to whatever does not hold about a wallet, its
	// PIN, a device, a sync or a bundle's acknowledgement. Which of them it was
	// stands in the audit record: outside, the difference would help to guess.
	ErrRefused = fault.New(fault.Refused, "this does not hold for the wallet, device or bundle it names")
)

// Tokens is what the wallet needs of the vault.
type Tokens interface {
	Token(ctx context.Context, ref token.Ref) (token.Token, error)
	// TakeCounters returns the first of n consecutive counters. They are spent
	// for good when it returns, whatever happens next.
	TakeCounters(ctx context.Context, ref token.Ref, n int) (first uint16, err error)
	// Move compares and swaps: it changes nothing when the token is no longer
	// in state from.
	Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error)
}

// Keys is what the wallet needs of the HSM.
type Keys interface {
	// SlotKeys derives the slot keys of one token from the path of two levels.
	SlotKeys(ctx context.Context, tokenPath keyref.Path, uds []keyref.Factor) ([][16]byte, error)
	HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
	Sign(ctx context.Context, ref keyref.Ref, digest [32]byte) ([64]byte, error)
}

// Bundle is one delivered bundle. JWE is safe to show: only the device opens it.
type Bundle struct {
	ID       string // 32 hex digits
	Ref      token.Ref
	JWE      string // compact form, for the device alone
	Slots    int
	CtrFirst uint16    // counter of the first slot; the others follow by one
	NotAfter time.Time // the token's

	// Of a bundle that a PIN guards.
	Device   token.DeviceID
	PINEpoch uint32
	Hardware string // JWE of the hardware key that its masks need; empty: none
}

// Store keeps bundles, so that asking again gives the same bytes.
type Store interface {
	// Find returns the bundle that an earlier try of attempt a by caller made.
	// found is false when there was none or a makes no promise.
	Find(ctx context.Context, caller string, a access.Attempt) (b Bundle, found bool, err error)
	// Insert makes b durable. When another try of the same attempt came first,
	// it stores nothing and returns that one's bundle.
	Insert(ctx context.Context, caller string, a access.Attempt, b Bundle, at time.Time) (Bundle, error)
	// Bundle returns a stored bundle, or [ErrUnknown].
	Bundle(ctx context.Context, id string) (Bundle, error)
	// Acknowledge notes when the device proved that it opened the bundle.
	Acknowledge(ctx context.Context, id string, at time.Time) error
}

// Granted keeps the bundles of wallets, whose slots an account granted.
type Granted interface {
	// Put makes b durable, unless a bundle of its id is there: then it returns
	// that one. A token has slots for one device and under one PIN only: it
	// returns [ErrRefused] for any other.
	Put(ctx context.Context, caller string, b Bundle, at time.Time) (Bundle, error)
	// Of lists the bundles of a token, oldest first.
	Of(ctx context.Context, ref token.Ref) ([]Bundle, error)
	// NextScript numbers the scripts of a bundle, from 1.
	NextScript(ctx context.Context, id string) (uint32, error)
}

// Config says what bundles hold and from which keys.
type Config struct {
	Tokens Tokens
	Keys   Keys
	Store  Store
	Gate   audit.Gate

	Granted Granted // nil: wallets get no bundles
	// Bound says whether a token belongs to a wallet. nil: none does.
	Bound func(ctx context.Context, ref token.Ref) (bool, error)

	Realm      string // of the slot masters
	KeyVersion byte   // of both slot masters; its low nibble, which may not be 0, stands in every UD
	// Versions are the slot key versions in use now, the one that issues first:
	// a key ceremony changes them while the service runs. nil: KeyVersion alone.
	Versions    func() []byte
	AlgorithmID byte // what the card answers for it
	Slots       int  // per bundle, 2 to 64
	Cap         token.Amount
	CredVersion uint8 // of cred-sign, and the credential's key id; 0: 1
	ScrVersion  uint8 // of the script key; 0: 1

	Issuer              [8]byte // bytes 0-7 of file 0015 and first factor of slot keys
	AppType, AppVersion byte    // bytes 8 and 9 of file 0015
	AID                 []byte  // nil: A000000632010105

	Zone *time.Location   // of the civil dates in file 0015; nil: UTC
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// defaultAID is the application identifier of transit purses.
var defaultAID = []byte{0xA0, 0x00, 0x00, 0x06, 0x32, 0x01, 0x01, 0x05}

// Service makes bundles. It is safe for concurrent use.
type Service struct{ Config }

// New checks c and returns its service.
func New(c Config) (*Service, error) {
	if c.Tokens == nil || c.Keys == nil || c.Store == nil || c.Gate.Recorder == nil {
		return nil, errors.New("wallet: tokens, keys, store and gate are all needed")
	}
	if c.Slots < 2 || c.Slots > payload.MaxSlots {
		return nil, fmt.Errorf("wallet: %d slots per bundle, want 2 to %d", c.Slots, payload.MaxSlots)
	}
	if _, err := credential.NewUD(time.Unix(1<<31, 0), 0, c.Cap*token.Amount(c.Slots), credential.Medium, c.KeyVersion); err != nil {
		return nil, fmt.Errorf("wallet: cap, slots or key version: %w", err)
	}
	c.fill()
	if len(c.AID) < 5 || len(c.AID) > 16 {
		return nil, errors.New("wallet: an AID has 5 to 16 bytes")
	}
	for _, r := range []keyref.Ref{c.master(keyref.SlotPurchaseMaster, c.KeyVersion), c.master(keyref.SlotTACMaster, c.KeyVersion), c.credKey(), c.scriptKey()} {
		if !r.Valid() {
			return nil, fmt.Errorf("wallet: %q names no key", r)
		}
	}
	return &Service{c}, nil
}

func (c *Config) fill() {
	if c.CredVersion == 0 {
		c.CredVersion = 1
	}
	if c.ScrVersion == 0 {
		c.ScrVersion = 1
	}
	if c.AID == nil {
		c.AID = defaultAID
	}
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	c.Now, c.Rand = Defaults(c.Now, c.Rand)
}

// Defaults are the clock and the random source of a service that was given none.
func Defaults(now func() time.Time, random io.Reader) (func() time.Time, io.Reader) {
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	return now, random
}

func (c *Config) master(u keyref.Usage, version byte) keyref.Ref {
	return keyref.Ref{Realm: c.Realm, Usage: u, Version: version}
}

// inUse are the slot key versions, the one that issues first.
func (c *Config) inUse() []byte {
	if c.Versions != nil {
		if v := c.Versions(); len(v) > 0 {
			return v
		}
	}
	return []byte{c.KeyVersion}
}

// version is the key version of a slot: one that was described before the
// version changed keeps its own.
func (c *Config) version(u credential.UD) byte {
	all := c.inUse()
	for _, v := range all {
		if v&0x0F == u.KeyVer {
			return v
		}
	}
	return all[0]
}

func (c *Config) credKey() keyref.Ref {
	return keyref.Ref{Usage: keyref.CredSign, Version: c.CredVersion}
}

func (c *Config) scriptKey() keyref.Ref {
	return keyref.Ref{Usage: keyref.Script, Version: c.ScrVersion}
}
