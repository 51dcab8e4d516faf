// Package intake opens what was sealed to the HSM, card numbers above all, so
// that nothing on their way here sees one.
//
// A sender seals {"pan","expiry"} to the public key that is served at
// /.well-known/intake.json, as a JWE in compact form: ECDH-ES+A256KW over
// P-256, A256GCM. Nothing else is taken. The private half agrees inside the
// HSM; the shared secret and the keys made from it live for one call and are
// wiped.
//
// A sealed card that somebody else caught can be sent again under another
// name. A sender prevents it by putting its client id into the payload as
// "client_id".
package intake

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// ErrSealed reports text that is no card sealed for this service, or not for
// this caller. All ways to be wrong look alike.
var ErrSealed = fault.New(fault.Intake, "this is no card sealed to the intake key")

// Key is one version of the intake key.
type Key struct {
	Public *ecdsa.PublicKey // P-256
	// Agree lends the secret shared with peer to use and wipes it after. The
	// private half stays in the HSM.
	Agree func(ctx context.Context, peer *ecdh.PublicKey, use func(secret []byte) error) error
}

// Card is what a sender sealed.
type Card struct {
	PAN    token.PAN
	Expiry token.Expiry
}

// Service opens sealed cards. It is safe for concurrent use.
type Service struct {
	keys []named
}

// named is a key and its RFC 7638 thumbprint.
type named struct {
	Key
	id string
}

// New returns a service over the versions of the intake key. The first is the
// one that is served first; cards sealed to any of them are opened.
func New(keys ...Key) (*Service, error) {
	if len(keys) == 0 {
		return nil, errors.New("intake: a key is required")
	}
	s := &Service{}
	for _, k := range keys {
		if k.Public == nil || k.Public.Curve != elliptic.P256() || k.Agree == nil {
			return nil, errors.New("intake: a key is a P-256 key that agrees")
		}
		print, err := (&jose.JSONWebKey{Key: k.Public}).Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("naming an intake key: %w", err)
		}
		s.keys = append(s.keys, named{k, base64.RawURLEncoding.EncodeToString(print)})
	}
	return s, nil
}

// KeySet returns the public keys as a JWK set (RFC 7517), the one to use first.
func (s *Service) KeySet() ([]byte, error) {
	var set jose.JSONWebKeySet
	for _, k := range s.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public, KeyID: k.id, Algorithm: string(jose.ECDH_ES_A256KW), Use: "enc"})
	}
	return json.Marshal(set)
}

// Open opens a card that client sent. Errors that say what was sent is not
// right are [ErrSealed] or of kind [fault.Malformed]; all others mean that it
// could not be opened now.
func (s *Service) Open(ctx context.Context, client, sealed string) (Card, error) {
	plain, err := s.Plain(ctx, sealed)
	if err != nil {
		return Card{}, err
	}
	defer clear(plain)
	return readCard(plain, client)
}

// Plain opens whatever was sealed to one of the keys: a card, a PIN, or what a
// phone remembers of a tap. The caller judges what it is, and wipes it. Errors
// are as for [Service.Open].
func (s *Service) Plain(ctx context.Context, sealed string) ([]byte, error) {
	h, err := readHeader(sealed)
	if err != nil {
		return nil, err
	}
	k, err := s.key(h.KeyID)
	if err != nil {
		return nil, err
	}
	return k.open(ctx, h, sealed)
}

// key finds the version that a sender named; a sender that names none means
// the first.
func (s *Service) key(id string) (named, error) {
	for _, k := range s.keys {
		if id == "" || id == k.id {
			return k, nil
		}
	}
	return named{}, ErrSealed
}
