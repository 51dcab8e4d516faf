package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/internal/fault"
)

// Signature algorithms that a client may use, and nothing else.
const (
	es256 = "ES256"
	eddsa = "EdDSA"
	ps256 = "PS256"
)

// maxJWK bounds a client key before it is parsed.
const maxJWK = 4096

// clientKey is a client's public key and the one algorithm it may sign with:
// the key decides, never the header of what it signed.
type clientKey struct {
	alg    string
	public crypto.PublicKey
	ids    []string // what kid may be: the key's own, and its thumbprint
}

// parseKey reads a public JWK.
func parseKey(b []byte) (clientKey, error) {
	var k jose.JSONWebKey
	if len(b) > maxJWK || json.Unmarshal(b, &k) != nil || !k.Valid() || !k.IsPublic() {
		return clientKey{}, fmt.Errorf("%w: its key is not a public JWK", ErrClient)
	}
	out := clientKey{public: k.Key}
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			out.alg = es256
		}
	case ed25519.PublicKey:
		out.alg = eddsa
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n >= 2048 && n <= 4096 {
			out.alg = ps256
		}
	}
	if out.alg == "" || k.Algorithm != "" && k.Algorithm != out.alg || k.Use != "" && k.Use != "sig" {
		return clientKey{}, fmt.Errorf("%w: its key must be for signatures: EC P-256, Ed25519, or RSA of 2048 to 4096 bits", ErrClient)
	}
	print, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return clientKey{}, fmt.Errorf("%w: its key has no thumbprint", ErrClient)
	}
	out.ids = []string{base64.RawURLEncoding.EncodeToString(print)}
	if k.KeyID != "" {
		out.ids = append(out.ids, k.KeyID)
	}
	return out, nil
}

// parseEncKey reads a public JWK to which answers are sealed, and its id: its
// own, or else its thumbprint.
func parseEncKey(b []byte) (pub *ecdsa.PublicKey, id string, err error) {
	var k jose.JSONWebKey
	if len(b) > maxJWK || json.Unmarshal(b, &k) != nil || !k.Valid() || !k.IsPublic() {
		return nil, "", fmt.Errorf("%w: its encryption key is not a public JWK", ErrClient)
	}
	pub, ok := k.Key.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() || k.Use != "" && k.Use != "enc" ||
		k.Algorithm != "" && k.Algorithm != string(jose.ECDH_ES_A256KW) {
		return nil, "", fmt.Errorf("%w: its encryption key must be EC P-256, for ECDH-ES+A256KW", ErrClient)
	}
	if k.KeyID != "" {
		return pub, k.KeyID, nil
	}
	id, err = keyID(pub)
	return pub, id, err
}

// EncryptionKey returns the key to which answers for a client are sealed, and
// its id, or [ErrNoKey]. It is read anew each time: a key that was replaced
// must not be used once more.
func (s *Service) EncryptionKey(ctx context.Context, client string) (*ecdsa.PublicKey, string, error) {
	c, err := s.cfg.Registry.Client(ctx, client)
	if err != nil {
		return nil, "", fmt.Errorf("reading a client: %w", err)
	}
	if len(c.EncJWK) == 0 {
		return nil, "", ErrNoKey
	}
	return parseEncKey(c.EncJWK)
}

// Holder names the key that a registered client signs with, the same for two
// clients of one key; "" for one that is disabled or not registered. Bearers of
// another issuer's tokens, whose ids have a colon, are known by their ids alone.
func Holder(ctx context.Context, r Registry, client string) (string, error) {
	if strings.Contains(client, ":") {
		return client, nil
	}
	c, err := r.Client(ctx, client)
	if errors.Is(err, ErrUnknown) || err == nil && c.Disabled {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	k, err := parseKey(c.JWK)
	if err != nil {
		return "", fault.Unreadable(fmt.Errorf("the key of client %s cannot be read", client))
	}
	return k.ids[0], nil // its thumbprint
}

// keyID names a public key by its RFC 7638 thumbprint.
func keyID(pub *ecdsa.PublicKey) (string, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return "", fmt.Errorf("identity: access tokens are signed with a P-256 key")
	}
	print, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("naming the signing key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(print), nil
}
