// Package element serves secure elements: cards, bands, watches and key fobs
// that make their own slot keys and keep their own PIN.
//
// An element is spoken to in scripts, which any courier carries: a phone, a
// terminal. It obeys them in their order, each once, and answers with receipts.
// A receipt that says that all scripts were obeyed is a sync: the account takes
// what the element tells, grants what it can pay for, and the grant becomes the
// next script. Grant first, then seal, as for phones; what breaks in between is
// healed by the next courier, who settles the receipt that was kept.
package element

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// State is what is known of an element.
type State string

// States.
const (
	Fresh  State = "NEW"    // nothing was heard of it
	Issued State = "ISSUED" // its newest receipt says that it holds a token
	Erased State = "ERASED" // its newest receipt says that it has forgotten all
)

// Element is an enrolled element, and what its newest receipt said.
type Element struct {
	ID         token.DeviceID
	Serial     message.Serial
	Wallet     token.WalletID
	Client     string         // id of the client that enrolled it
	Key        *rsa.PublicKey // 2048 to 4096 bits, exponent 65537; keys and PINs are enciphered to it (OAEP, SHA-256)
	Leaf       string         // of its attestation: SHA-256 of the certificate, in hex
	KeyVersion byte           // of the slot masters that its keys come from
	Ref        token.Ref      // that it was issued last; "" before the first
	Seq        uint32         // number of the last script made for it; 0: none
	Acked      uint32         // number of the last script that it says it obeyed
	Number     uint32         // of its newest receipt
	Receipt    []byte         // one that is still to be settled; nil: none
	State      State
	Tries      byte         // that its PIN has left, as it says
	Balance    token.Amount // in fen, as it says
	EnrolledAt time.Time
}

// Script is one script as it was made; it is delivered in the same bytes however
// often it is asked for.
type Script struct {
	Seq   uint32 // from 1 on, without a gap
	Cause string // why it was made, such as a grant: there is one script for each cause
	Verb  message.Verb
	Bytes []byte // with its MAC or signature, up to [message.MaxScript] of them
	At    time.Time
	Ref   token.Ref // of an issue
}

// Store keeps elements and scripts. What it returns is durable; it is safe for
// concurrent use.
type Store interface {
	// Insert makes e durable, once per attempt. A serial number that is there
	// already is [wallet.ErrRefused].
	Insert(ctx context.Context, caller string, a access.Attempt, e Element) (Element, error)
	// Element returns an element, or [wallet.ErrRefused].
	Element(ctx context.Context, id token.DeviceID) (Element, error)
	// Put makes s durable as the element's next script, unless there is one for
	// its cause. It reports false when another script has taken its number.
	Put(ctx context.Context, id token.DeviceID, s Script) (bool, error)
	// Made reports whether there is a script for a cause.
	Made(ctx context.Context, id token.DeviceID, cause string) (bool, error)
	// Script returns a script by its number; found is false when there is none.
	Script(ctx context.Context, id token.DeviceID, seq uint32) (s Script, found bool, err error)
	// Hear keeps what a receipt says: Acked, Number, Receipt, State, Tries and Balance
	// of e. It changes nothing when a newer one was heard, or while one is still to be
	// settled.
	Hear(ctx context.Context, e Element) error
	// Lost makes seq the number of the element's last script, where a database that was put
	// back to an earlier day knows fewer. It reports false, and changes nothing, where none was.
	Lost(ctx context.Context, id token.DeviceID, seq uint32) (bool, error)
	// Settled forgets the receipt that was to be settled, if it is still that one.
	Settled(ctx context.Context, id token.DeviceID, number uint32) error
}

// Keys is what this package needs of the HSM.
type Keys interface {
	// WrapTokenKey derives a token's key along path and enciphers it to an element's
	// RSA key, inside the HSM.
	WrapTokenKey(ctx context.Context, path keyref.Path, peer *rsa.PublicKey) ([]byte, error)
	HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error)
	Sign(ctx context.Context, ref keyref.Ref, digest [32]byte) ([64]byte, error)
}

// Accounts is what this package needs of the wallets' accounts.
type Accounts interface {
	// Open returns nil when there is such a wallet and c may act for it, and an
	// error of kind [fault.Refused] when not.
	Open(ctx context.Context, c access.Caller, w token.WalletID) error
	// Sync takes what an element reports, once for each id of q, and grants slots.
	Sync(ctx context.Context, c access.Caller, q account.SyncRequest) (account.Settlement, error)
	// Holder says to which wallet and device a token is bound; an error of kind
	// [fault.Refused] says to none.
	Holder(ctx context.Context, ref token.Ref) (token.WalletID, token.DeviceID, error)
}

// Tokens is what this package needs of the vault.
type Tokens interface {
	Token(ctx context.Context, ref token.Ref) (token.Token, error)
	Move(ctx context.Context, ref token.Ref, from token.State, v token.Verb, at time.Time) (token.Token, error)
}

// Certifier signs the issuer's word for slots.
type Certifier interface {
	Certify(ctx context.Context, t token.Token, uds []credential.UD, risk byte) (credential.Credential, error)
}

// Opener opens PINs that were sealed to the HSM.
type Opener interface {
	Plain(ctx context.Context, sealed string) ([]byte, error)
}

// Config is what a [Service] is made of; fields without a default are required.
type Config struct {
	Store       Store
	Keys        Keys
	Accounts    Accounts
	Tokens      Tokens
	Credentials Certifier
	Opener      Opener
	Gate        audit.Gate
	Terms       enrol.Terms // of tier SE

	Realm       string // of the slot masters
	KeyVersion  byte   // of the slot masters that serve elements, and no phone; 0: no element is served
	AlgorithmID byte   // that goes with them
	CredVersion uint8  // of the key that signs credentials and issues, cred-sign; 0: 1
	ScrVersion  uint8  // of the key that scripts' keys are derived from, script; 0: 1

	// What an element tells readers of itself, in file 0015.
	Issuer              [8]byte // bytes 0 to 7
	AppType, AppVersion byte    // bytes 8 and 9
	AID                 []byte  // application identifier, up to 16 bytes

	Zone *time.Location   // of civil dates; nil: UTC
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// Service serves elements. It is safe for concurrent use.
type Service struct{ cfg Config }

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Keys == nil || c.Accounts == nil || c.Tokens == nil || c.Credentials == nil || c.Opener == nil || c.Gate.Recorder == nil {
		return nil, errors.New("element: store, keys, accounts, tokens, credentials, opener and gate are all needed")
	}
	if c.KeyVersion != 0 && c.KeyVersion&0x0F == 0 {
		return nil, errors.New("element: a key version whose low nibble is 0 names no slot")
	}
	if c.CredVersion == 0 {
		c.CredVersion = 1
	}
	if c.ScrVersion == 0 {
		c.ScrVersion = 1
	}
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	c.Now, c.Rand = wallet.Defaults(c.Now, c.Rand)
	return &Service{c}, nil
}

// Request is what an element brings to be enrolled.
type Request struct {
	Wallet  token.WalletID
	Serial  message.Serial
	Key     *rsa.PublicKey
	Verdict enrol.Verdict // of whoever checked its attestation; [enrol.Trusted], or it is refused
	Level   enrol.Level   // [enrol.Element], or it is refused
	At      time.Time     // of the verdict; not more than two minutes ahead of the clock
	Leaf    string        // SHA-256 of the attestation's leaf certificate, in hex
	Attempt access.Attempt
}

// Enrol registers an element, once per attempt. Only one whose attestation says that its
// key was made in a secure element is: whoever has that key gets its token's keys.
// Whatever does not hold, a serial number that is enrolled already among it, is
// [wallet.ErrRefused].
func (s *Service) Enrol(ctx context.Context, c access.Caller, q Request) (Element, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.ElementProvide, string(q.Wallet)); err != nil {
		return Element{}, err
	}
	refuse := func(reason string) (Element, error) {
		return Element{}, s.cfg.Gate.Refuse(ctx, c, access.ElementProvide, string(q.Wallet), reason, wallet.ErrRefused)
	}
	now := s.cfg.Now()
	switch {
	case s.cfg.KeyVersion == 0:
		return refuse("not-served")
	case q.Verdict != enrol.Trusted || q.Level != enrol.Element || q.At.After(now.Add(120*time.Second)):
		return refuse("attestation")
	case q.Key == nil || q.Key.N == nil || q.Key.N.BitLen() < 2048 || q.Key.N.BitLen() > 4096 || q.Key.N.Bit(0) == 0 || q.Key.E != 65537:
		return refuse("key")
	}
	if err := s.cfg.Accounts.Open(ctx, c, q.Wallet); err != nil {
		return Element{}, s.hide(ctx, c, string(q.Wallet), "wallet", err)
	}
	id, err := token.DrawDeviceID(s.cfg.Rand)
	if err != nil {
		return Element{}, err
	}
	e, err := s.cfg.Store.Insert(ctx, c.ID, q.Attempt, Element{ID: id, Serial: q.Serial, Wallet: q.Wallet, Client: c.ID, Key: q.Key,
		Leaf: q.Leaf, KeyVersion: s.cfg.KeyVersion, State: Fresh, EnrolledAt: now})
	return e, s.hide(ctx, c, string(q.Wallet), "serial", err)
}

// Get returns an element that c enrolled, or [wallet.ErrRefused].
func (s *Service) Get(ctx context.Context, c access.Caller, id token.DeviceID) (Element, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.ElementProvide, string(id)); err != nil {
		return Element{}, err
	}
	return s.own(ctx, c, id)
}

// own returns an element that c enrolled.
func (s *Service) own(ctx context.Context, c access.Caller, id token.DeviceID) (Element, error) {
	e, err := s.cfg.Store.Element(ctx, id)
	if err == nil && e.Client != c.ID {
		err = wallet.ErrRefused
	}
	return e, s.hide(ctx, c, string(id), "element", err)
}
