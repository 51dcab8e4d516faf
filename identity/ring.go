package identity

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/go-jose/go-jose/v4"
)

// ring is the service's signing keys at one moment.
type ring struct {
	keys    map[string]Key // by kid
	order   []string       // kids, as they were given
	signing string         // kid of the one that signs
}

func newRing(keys []Key) (*ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("identity: a signing key is required")
	}
	r := &ring{keys: map[string]Key{}}
	for _, k := range keys {
		kid, err := keyID(k.Public)
		if err != nil {
			return nil, err
		}
		r.keys[kid] = k
		r.order = append(r.order, kid)
	}
	r.signing = r.order[0]
	return r, nil
}

// SetKeys changes the service's keys: the first signs from now on, tokens of
// all of them are believed. A key that is taken away takes its tokens with it,
// within [Config].Recheck.
func (s *Service) SetKeys(keys []Key) error {
	r, err := newRing(keys)
	if err != nil {
		return err
	}
	s.ring.Store(r)
	return nil
}

// key finds a signing key of ours. When there is none of that name it may have
// come a moment ago, to another process first: it is looked for once.
func (s *Service) key(ctx context.Context, kid string) (Key, bool) {
	k, ok := s.ring.Load().keys[kid]
	if ok || s.cfg.Renew == nil || len(kid) != kidLength {
		return k, ok
	}
	s.cfg.Renew(ctx)
	k, ok = s.ring.Load().keys[kid]
	return k, ok
}

// kidLength is how long our names of keys are: a SHA-256 in base64url.
const kidLength = 43

// KeySet returns the public keys of access tokens as a JWK set (RFC 7517), so
// that others can check a token without asking.
func (s *Service) KeySet() ([]byte, error) {
	var set jose.JSONWebKeySet
	r := s.ring.Load()
	for _, kid := range r.order {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: r.keys[kid].Public, KeyID: kid, Algorithm: es256, Use: "sig"})
	}
	return json.Marshal(set)
}
