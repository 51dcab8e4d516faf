// Package hsm runs a small set of key operations on a PKCS #11 token through a pool of sessions.
//
// A [Token] is opened once for the life of the process and is safe for concurrent use.
// It owns the login. Keys are named by [keyref.Ref]; before a stored key can be used,
// [Token.Require] finds it, checks its attributes and makes it ready.
//
// Master keys never leave the token. The methods that give out key bytes have that as
// their purpose: [Token.SlotKeys] (the single-use keys of a phone), [Token.Reveal] (the
// EMV keys of one transaction, or of one card where the configuration allows it), and
// [Token.ECDH] and [Token.UnsealSecret], which lend a secret in locked memory for one
// call. [Token.WrapTokenKey] gives out a token key enciphered to a secure element.
//
// What every method has in common:
//
//   - A call that waits for a session or a worker returns when its context
//     ends. A call that the module has begun is completed; its answer may be
//     thrown away.
//   - A session in which anything failed is closed and replaced.
//   - A login or session that the token lost is made anew once, and the call
//     repeated, without the caller seeing it. A PIN that was refused is not tried
//     again by this process, so that it cannot lock the token; another one is.
//   - Errors are of kind [fault.HSMUnavailable] or [fault.HSMKey], and name
//     keys by label only.
package hsm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Errors of this package. The text that wraps them says which key, and what to do.
var (
	// ErrUnavailable reports a module, token or session that does not answer.
	ErrUnavailable = fault.New(fault.HSMUnavailable, "the HSM cannot be used")
	// ErrPIN reports a PIN that the token refused. This process does not try it again.
	ErrPIN = fault.New(fault.HSMUnavailable, "the HSM refused the PIN")
	// ErrKeyMissing reports a label that no object has, or a key that was not required.
	ErrKeyMissing = fault.New(fault.HSMKey, "the HSM holds no such key")
	// ErrKeyAmbiguous reports a label that several objects have: none of them is used.
	ErrKeyAmbiguous = fault.New(fault.HSMKey, "the HSM holds several keys of one label")
	// ErrKeyUnfit reports a key whose type, attributes or value are not what its usage
	// demands.
	ErrKeyUnfit = fault.New(fault.HSMKey, "a key in the HSM is not fit for its use")
	// ErrKeyExists reports a birth under a label that is taken: nothing was made.
	ErrKeyExists = fault.New(fault.HSMKey, "the HSM already holds a key of this label")
)

// errNoToken is a part of errors which say that no token has the label.
var errNoToken = errors.New("no token has the label")

// errNoSession is a part of errors which say that a token opens no session. By which
// code depends on the vendor.
var errNoSession = errors.New("opening a session")

// errNoPIN is a part of errors which say that a token has no PIN for its user.
var errNoPIN = errors.New("has no user PIN yet")

// Config says which token to open and how. Module, Token and PIN are required.
type Config struct {
	// Module is the absolute path of the PKCS #11 library.
	Module string
	// Token is the label of the token.
	Token string
	// PIN lends the user PIN for as long as use lasts, which may wipe it. It is
	// asked at [Open], and again whenever the login has to be made anew; so a PIN
	// that was changed meanwhile is found. See [PINFile].
	PIN func(use func(pin []byte) error) error
	// WrongPIN says what to do about a PIN that the token refused. Left out, the PIN
	// is taken to be that of a [PINFile].
	WrongPIN string
	// OnPIN, if there is one, is told after a later login with a PIN that was not
	// tried before: that it was refused, or nil.
	OnPIN func(err error)
	// InitArgs is the reserved string of C_Initialize that some modules need
	// (NSS softokn). Empty for all others.
	InitArgs string
	// Workers is the number of callers that the hot path lets into the module
	// at once. 0 means 1, which suits SoftHSM; a networked HSM wants more.
	Workers int
	// MaxSessions bounds the sessions of everything else. 0 means 16; the
	// token's own limit is respected when it is lower.
	MaxSessions int
	// CachedKeys bounds the derived keys that a worker keeps. 0 means 256.
	CachedKeys int
	// RefuseTACFold switches off the one operation on a physical card's key
	// that lets its bytes pass through this process. See [Token.FoldedMAC].
	RefuseTACFold bool
	// RevealCardKeys lets the keys of one EMV card through the memory of this
	// process, for two rules that no mechanism computes inside: Visa's secure
	// messaging and its PIN blocks. See [Token.Reveal].
	RevealCardKeys bool
	// SM4 makes keys of SM4 usable inside, by the numbers of the module's vendor.
	SM4 SM4
	// ElementKeys is the version of the slot masters whose token keys may leave
	// the token, enciphered to a secure element. 0: none may, and phones' masters
	// never belong here. See [Token.WrapTokenKey].
	ElementKeys uint8
	// CardRealms names the realms without diversification. Their stored keys
	// are one card's own, so that two of them may be equal; see [Token.Require].
	CardRealms []string
	// RecycleAfter is after how many session objects the module is finalised and
	// initialised again, while callers wait, because it does not give back their
	// memory. 0 means what suits the module: 200,000 for SoftHSM up to 2.6, never
	// for others. Below 0 means never.
	RecycleAfter int
	// OnRecycle, if there is one, is told how long callers waited, and what went
	// wrong: then the module was left as it was, or is lost until it recovers.
	OnRecycle func(took time.Duration, err error)
	// OnStall, if there is one, is told that the module hangs while it is made anew, and
	// of its return: then with nil, and how long it took.
	OnStall func(took time.Duration, err error)
	// Prepare, if there is one, is called each time before the module is
	// initialised: what it reads from the environment is set there.
	Prepare func() error
	// Rand is the source of ceremony randomness that must not come from one
	// place alone: it is mixed with the token's own. Nil means crypto/rand.
	Rand io.Reader
}

// Recycled is how often a module was made anew; see [Config.RecycleAfter].
type Recycled struct {
	Asked  bool          // it is to be, or is being, made anew
	Times  uint64        // that it was, and all its tokens came back
	Failed uint64        // that something went wrong on the way: calls failed until it recovered
	PutOff uint64        // that nothing was touched
	Took   time.Duration // how long calls waited the last time
}

func (c Config) withDefaults() (Config, error) {
	if c.Module == "" || c.Token == "" || c.PIN == nil {
		return c, fmt.Errorf("opening the HSM: %w: module, token label and PIN are required", ErrUnavailable)
	}
	for p, d := range map[*int]int{&c.Workers: 1, &c.MaxSessions: 16, &c.CachedKeys: 256} {
		if *p == 0 {
			*p = d
		}
		if *p < 1 || *p > 4096 {
			return c, fmt.Errorf("opening the HSM: %w: workers, sessions and cached keys are between 1 and 4096", ErrUnavailable)
		}
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return c, nil
}

// cardRealm reports whether keys of the realm are one card's own.
func (c Config) cardRealm(realm string) bool {
	for _, r := range c.CardRealms {
		if r == realm {
			return true
		}
	}
	return false
}

// InitConfig says how a new token is initialised.
type InitConfig struct {
	Module   string // as in [Config]
	InitArgs string // as in [Config]
	Label    string // 1 to 32 bytes; a token of this label must not exist yet
	SOPIN    []byte // PIN of the token's security officer
	UserPIN  []byte // PIN with which the service will log in
	// Resume goes on with a token of this label that has no user PIN yet: it was
	// left so when an initialisation was cut off. One that has its PIN is done.
	Resume bool
}

// Need is what keys need something for.
type Need uint8

// Needs.
const (
	ForUse      Need = iota // keys cannot be used without it
	ForBirth                // keys cannot be made inside without it; those that are there, or are brought in, can be used
	ForElements             // keys for secure elements cannot be enciphered without it
)

// Lack is something that keys of the service need and a token does not do.
type Lack struct {
	Mechanism string         // its name, or empty: what fails is not one mechanism
	To        string         // what the mechanism is to do, or what was tried
	Says      string         // what the module answered to that
	Need      Need           // what it is needed for
	Usages    []keyref.Usage // of the keys that need it
}
