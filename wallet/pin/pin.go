// Package pin sets and checks a wallet's PIN without keeping it.
//
// A PIN has six digits and arrives as a compact JWE to the HSM's intake key. Two values
// of 32 bytes are kept of it: S, the PIN stretched by Argon2id, sealed by the HSM; and V,
// the HMAC-SHA256 of wallet and S under a key of the HSM, by which the right PIN is known
// again. S is worth as much as the PIN: bundles are masked with it while the holder is
// away.
//
// A wrong PIN costs one of [MaxTries], wherever it was given: here, or at a terminal,
// where it shows when the tap is judged. A try is taken before the PIN is looked at, so
// that asking many times at once gives no more of them.
//
// Each new PIN begins an epoch, counted from 1. The epoch names the S with which a
// bundle was masked.
package pin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/mask"
)

// MaxTries is how many wrong PINs a wallet has between two right ones.
const MaxTries = 5

// Errors of this package. Whatever else does not hold, a wrong PIN among it, is
// [wallet.ErrRefused].
var (
	// ErrWeak reports a new PIN that is easily guessed: see [mask.Weak].
	ErrWeak = fault.New(fault.Malformed, "this PIN is one of those that are tried first, or holds digits of the holder: choose another")
	// ErrBusy reports that as many callers wait as may: [Config.Waiting].
	ErrBusy = fault.New(fault.Overloaded, "too many PINs are being checked")
)

// Record is what is kept of a wallet's PIN.
type Record struct {
	Wallet      token.WalletID
	Epoch       uint32    // 1 for the first PIN, one more with every other
	Secret      []byte    // S, sealed by the HSM under pin-seal for this wallet and epoch
	Verifier    [32]byte  // V, under pin-verify
	Tries       int       // wrong ones given online since LastSuccess
	LastSuccess time.Time // when the right PIN was last given online
	Revoking    bool      // tokens of the epoch before are still to be deleted
	Resettable  bool      // an operator lets the holder set a new one
}

// Store keeps records. It is safe for concurrent use.
type Store interface {
	// Record returns the record of a wallet, or [wallet.ErrRefused].
	Record(ctx context.Context, w token.WalletID) (Record, error)
	// Put stores r in place of the record of epoch r.Epoch-1, or as the first
	// one, once per attempt. done is true when this attempt did so before.
	// When another record stands there it returns [wallet.ErrRefused].
	Put(ctx context.Context, caller string, a access.Attempt, r Record) (done bool, err error)
	// Done reports whether the attempt was made before.
	Done(ctx context.Context, caller string, a access.Attempt) (bool, error)
	// Revoked notes that no token of an epoch before this one lives.
	Revoked(ctx context.Context, w token.WalletID, epoch uint32) error
	// AllowReset lets [Store.Put] follow a record whose PIN nobody knows.
	AllowReset(ctx context.Context, w token.WalletID) error
}

// Tries keeps count. It is safe for concurrent use, and what it returns is
// durable.
type Tries interface {
	// Take takes one try if fewer than limit are gone; ok is false when there was
	// none left, or no such wallet.
	Take(ctx context.Context, w token.WalletID, limit int) (ok bool, err error)
	// GiveBack undoes a Take whose PIN could not be judged, or was right and could not be
	// cleared.
	GiveBack(ctx context.Context, w token.WalletID) error
	// Clear forgets all tries: the right PIN was given.
	Clear(ctx context.Context, w token.WalletID, at time.Time) error
}

// Accounts is what this package needs of the wallets' accounts.
type Accounts interface {
	// Open returns nil when there is such a wallet and c may act for it, and an
	// error of kind [fault.Refused] when not.
	Open(ctx context.Context, c access.Caller, w token.WalletID) error
	// WrongWindows counts wrong PINs given at terminals since a moment.
	WrongWindows(ctx context.Context, w token.WalletID, since time.Time) (int, error)
	// PINTried says that a wrong PIN was given online: three of them, with those
	// given at terminals, restrict the wallet, five suspend it and its tokens. It
	// may be repeated.
	PINTried(ctx context.Context, w token.WalletID) error
	// Tokens lists the tokens that are bound to the wallet.
	Tokens(ctx context.Context, w token.WalletID) ([]token.Ref, error)
	// Holder says to which wallet and device a token is bound; an error of kind
	// [fault.Refused] says to none.
	Holder(ctx context.Context, ref token.Ref) (token.WalletID, token.DeviceID, error)
}

// Tokens is what this package needs of the vault.
type Tokens interface {
	Token(ctx context.Context, ref token.Ref) (token.Token, error)
	Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error)
}

// Keys is what this package needs of the HSM.
type Keys interface {
	Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) ([]byte, error)
	UnsealSecret(ctx context.Context, ref keyref.Ref, sealed, aad []byte, use func(secret []byte) error) error
	HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
}

// Opener opens what was sealed to the HSM; errors of kind [fault.Intake] say
// that it was not.
type Opener interface {
	Plain(ctx context.Context, sealed string) ([]byte, error)
}

// Config is what a [Service] is made of; fields without a default are required.
type Config struct {
	Store    Store
	Tries    Tries
	Accounts Accounts
	Tokens   Tokens
	Keys     Keys
	Opener   Opener
	Gate     audit.Gate

	Stretch  mask.Stretch     // nil: [mask.Argon2id]
	Parallel int              // how many PINs are stretched at once, 64 MiB each; 0: 2
	Waiting  int              // how many callers wait for their turn, others get [ErrBusy]; 0: 64
	Now      func() time.Time // nil: time.Now
	// Sure is the moment that has come by every clock there is: what was typed wrong
	// before a right PIN is forgotten, so that one of the future would forget what is
	// to come. Nil: Now.
	Sure func(ctx context.Context) (time.Time, error)
}

// Service sets and checks PINs. It is safe for concurrent use.
type Service struct {
	cfg  Config
	turn chan struct{} // held while stretching
	line chan struct{} // held while waiting, too
}

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Tries == nil || c.Accounts == nil || c.Tokens == nil || c.Keys == nil || c.Opener == nil || c.Gate.Recorder == nil {
		return nil, errors.New("pin: store, tries, accounts, tokens, keys, opener and gate are all needed")
	}
	if c.Stretch == nil {
		c.Stretch = mask.Argon2id
	}
	if c.Parallel == 0 {
		c.Parallel = 2
	}
	if c.Waiting == 0 {
		c.Waiting = 64
	}
	if c.Parallel < 0 || c.Waiting < 0 {
		return nil, errors.New("pin: how many stretch and wait is not negative")
	}
	c.Now, _ = wallet.Defaults(c.Now, nil)
	if c.Sure == nil {
		c.Sure = func(context.Context) (time.Time, error) { return c.Now(), nil }
	}
	return &Service{c, make(chan struct{}, c.Parallel), make(chan struct{}, c.Parallel+c.Waiting)}, nil
}

// stretch makes S, when it is its turn.
func (s *Service) stretch(ctx context.Context, p mask.PIN, w token.WalletID, epoch uint32) (mask.Secret, error) {
	select {
	case s.line <- struct{}{}:
		defer func() { <-s.line }()
	default:
		return mask.Secret{}, ErrBusy
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return mask.Secret{}, ctx.Err()
	}
	return s.cfg.Stretch(p, mask.Salt(w, epoch)), nil
}

var (
	sealKey   = keyref.Ref{Usage: keyref.PINSeal, Version: 1}
	verifyKey = keyref.Ref{Usage: keyref.PINVerify, Version: 1}
)

// place binds a sealed S to its wallet and epoch.
func place(w token.WalletID, epoch uint32) []byte {
	return fmt.Appendf(nil, "tapvault/pin-seal/v1|%s|%d", w, epoch)
}

// verifier is V = HMAC(pin-verify, wallet || S).
func (s *Service) verifier(ctx context.Context, w token.WalletID, secret *mask.Secret) ([32]byte, error) {
	msg := append([]byte(w), secret[:]...)
	defer clear(msg)
	return s.cfg.Keys.HMAC(ctx, verifyKey, msg)
}
