// Package identity says who is calling: it exchanges what registered clients sign for
// access tokens, and reads those back.
//
// A client proves itself with its own private key (private_key_jwt, RFC 7523)
// and gets a short-lived access token (RFC 9068) signed in the HSM. Reading a
// token back is cached by the token's hash, because checking its signature
// costs more than a whole purchase check. A cached client is looked up again
// every [Config].Recheck, so a disabled one is out within that time and not
// only when its token ends.
//
// Other issuers can be believed as well: see [Issuer]. Any token may be bound to
// a client certificate (RFC 8705), without which it is of no use to a thief.
package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
)

// Errors of this package. What exactly was wrong with an assertion or a token
// stands in the wrapping text, which is for logs only.
var (
	// ErrRefused reports an assertion or access token that does not hold, and a client
	// that is disabled.
	ErrRefused = fault.New(fault.Unauthenticated, "the caller could not be identified")
	// ErrUnknown reports a client that is not registered.
	ErrUnknown = fault.New(fault.Unauthenticated, "no such client")
	// ErrSpent reports an assertion whose jti was used before.
	ErrSpent = fault.New(fault.Unauthenticated, "this assertion was used before")
	// ErrScope reports that a client asked for a scope that it is not registered with.
	ErrScope = fault.New(fault.Malformed, "the client may not have this scope")
	// ErrClient reports what cannot be registered: see [Client.Validate].
	ErrClient = fault.New(fault.Malformed, "not a client that can be registered")
	// ErrNoKey reports a client without an encryption key.
	ErrNoKey = fault.New(fault.NoClientKey, "no encryption key is registered for this caller")
	// ErrExists reports a client whose id is taken.
	ErrExists = fault.New(fault.Malformed, "a client with this id is registered already")
)

// AssertionType is the client_assertion_type of RFC 7523.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Registry knows the clients. It is safe for concurrent use.
type Registry interface {
	// Client returns a registered client, also a disabled one, or [ErrUnknown].
	Client(ctx context.Context, id string) (Client, error)
	// Spend notes durably that client used the assertion id jti, and forgets it
	// some time after until. It returns [ErrSpent] when that was noted before.
	Spend(ctx context.Context, client, jti string, until time.Time) error
}

// Key is one version of the key that signs access tokens, with ES256.
type Key struct {
	Public *ecdsa.PublicKey // P-256
	// Sign returns the signature r‖s, 32 bytes each, over a SHA-256 digest. The
	// private half stays in the HSM.
	Sign func(ctx context.Context, digest [32]byte) ([64]byte, error)
}

// Config says who issues access tokens, for whom and for how long.
type Config struct {
	Registry Registry
	Keys     []Key  // the first signs; tokens of all of them are believed; see [Service.SetKeys]
	Issuer   string // iss of access tokens, such as https://tapvault.example
	Audience string // aud of access tokens

	Issuers []Issuer // whose access tokens are believed too
	// Renew looks for new keys of our own and calls [Service.SetKeys]; it is asked
	// when a token names a key that is not known, and bounds by itself how often
	// it looks. nil: there are none to be found.
	Renew func(ctx context.Context)

	AccessTTL time.Duration    // of access tokens; 0: 10 minutes
	Recheck   time.Duration    // how stale a cached client may be; 0: 30 seconds
	CacheSize int              // cached tokens; 0: 10,000
	Now       func() time.Time // nil: time.Now
	Rand      io.Reader        // nil: crypto/rand
}

// Service exchanges assertions and reads access tokens. It is safe for
// concurrent use.
type Service struct {
	cfg   Config
	ring  atomic.Pointer[ring]
	cache *cache
}

// New checks cfg and returns a service.
func New(cfg Config) (*Service, error) {
	if cfg.Registry == nil || cfg.Issuer == "" || cfg.Audience == "" || len(cfg.Keys) == 0 {
		return nil, errors.New("identity: Registry, Keys, Issuer and Audience are required")
	}
	if cfg.AccessTTL == 0 {
		cfg.AccessTTL = 10 * time.Minute
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = 30 * time.Second
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	for _, i := range cfg.Issuers {
		if err := i.Check(); err != nil || i.Keys == nil || i.Issuer == cfg.Issuer {
			return nil, errors.Join(fmt.Errorf("identity: issuer %q cannot be used", i.Name), err)
		}
	}
	s := &Service{cfg: cfg, cache: newCache(cfg.CacheSize)}
	if err := s.SetKeys(cfg.Keys); err != nil {
		return nil, err
	}
	return s, nil
}

// TokenEndpoint is where clients exchange assertions, and one of the audiences
// an assertion may name.
func (s *Service) TokenEndpoint() string { return s.cfg.Issuer + TokenPath }

// TokenPath is the path of [Service.TokenEndpoint].
const TokenPath = "/oauth2/token"
