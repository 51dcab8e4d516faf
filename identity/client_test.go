package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/fault"
)

func jwk(k any) []byte { return must(json.Marshal(jose.JSONWebKey{Key: k})) }

func TestValidate(t *testing.T) {
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	good := identity.Client{ID: "issuer-1", Role: access.Issuer, Scopes: []access.Action{access.TokenRead}, JWK: jwk(&p256.PublicKey)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*identity.Client){
		"no id":            func(c *identity.Client) { c.ID = "" },
		"upper-case id":    func(c *identity.Client) { c.ID = "Issuer" },
		"long id":          func(c *identity.Client) { c.ID = strings.Repeat("a", 65) },
		"no role":          func(c *identity.Client) { c.Role = "" },
		"no such role":     func(c *identity.Client) { c.Role = "god" },
		"no scope":         func(c *identity.Client) { c.Scopes = nil },
		"scope of others":  func(c *identity.Client) { c.Scopes = []access.Action{access.KeyRead} },
		"no such scope":    func(c *identity.Client) { c.Scopes = []access.Action{"all"} },
		"short requestor":  func(c *identity.Client) { c.Requestor = "5012" },
		"terminal spaces":  func(c *identity.Client) { c.Terminal = "a b" },
		"long name":        func(c *identity.Client) { c.Name = strings.Repeat("a", 129) },
		"no key":           func(c *identity.Client) { c.JWK = nil },
		"private key":      func(c *identity.Client) { c.JWK = jwk(p256) },
		"P-384":            func(c *identity.Client) { c.JWK = jwk(&p384.PublicKey) },
		"RSA of 1024 bits": func(c *identity.Client) { c.JWK = jwk(&weak.PublicKey) },
		"shared secret":    func(c *identity.Client) { c.JWK = jwk([]byte("0123456789abcdef0123456789abcdef")) },
		"off the curve":    func(c *identity.Client) { c.JWK = []byte(strings.Replace(string(c.JWK), `"x":"`, `"x":"A`, 1)) },
		"key for sealing":  func(c *identity.Client) { c.JWK = []byte(strings.Replace(string(c.JWK), `{`, `{"use":"enc",`, 1)) },
		"other algorithm":  func(c *identity.Client) { c.JWK = []byte(strings.Replace(string(c.JWK), `{`, `{"alg":"RS256",`, 1)) },
		"oversized key":    func(c *identity.Client) { c.JWK = append(c.JWK, make([]byte, 5000)...) },
		"text for a key":   func(c *identity.Client) { c.JWK = []byte("key") },
	} {
		c := good
		change(&c)
		if err := c.Validate(); !errors.Is(err, identity.ErrClient) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestScopeOfOthers: who asks for a scope that the role cannot have is told those that it can.
func TestScopeOfOthers(t *testing.T) {
	c := identity.Client{ID: "gate", Role: access.Auditor, Scopes: []access.Action{"all"}}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), string(access.ForRole(access.Auditor)[0])) {
		t.Error(err)
	}
}

func TestEncryptionKey(t *testing.T) {
	sig := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	enc := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	c := identity.Client{ID: "issuer-1", Role: access.Issuer, Scopes: []access.Action{access.Detokenize}, JWK: jwk(&sig.PublicKey)}
	full := func(k jose.JSONWebKey) []byte { return must(json.Marshal(k)) }
	for name, key := range map[string][]byte{
		"plain":   jwk(&enc.PublicKey),
		"in full": full(jose.JSONWebKey{Key: &enc.PublicKey, KeyID: "k1", Use: "enc", Algorithm: "ECDH-ES+A256KW"}),
	} {
		c.EncJWK = key
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, key := range map[string][]byte{
		"private":           jwk(enc),
		"another curve":     jwk(&p384.PublicKey),
		"for signatures":    full(jose.JSONWebKey{Key: &enc.PublicKey, Use: "sig"}),
		"another algorithm": full(jose.JSONWebKey{Key: &enc.PublicKey, Algorithm: "ECDH-ES"}),
		"one for both":      c.JWK,
		"oversized":         append(jwk(&enc.PublicKey), make([]byte, 5000)...),
		"text":              []byte("key"),
	} {
		c.EncJWK = key
		if err := c.Validate(); !errors.Is(err, identity.ErrClient) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEncryptionKeyOf: the key is read anew each time.
func TestEncryptionKeyOf(t *testing.T) {
	w := newWorld(t)
	enc := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if _, _, err := w.service.EncryptionKey(t.Context(), "gate"); !errors.Is(err, identity.ErrNoKey) || fault.KindOf(err) != fault.NoClientKey {
		t.Errorf("no key: %v", err)
	}
	if _, _, err := w.service.EncryptionKey(t.Context(), "nobody"); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("nobody: %v", err)
	}
	for _, k := range []jose.JSONWebKey{{Key: &enc.PublicKey, KeyID: "k1"}, {Key: &enc.PublicKey}} {
		if err := w.db.SetEncryptionKey(t.Context(), "gate", must(json.Marshal(k))); err != nil {
			t.Fatal(err)
		}
		pub, id, err := w.service.EncryptionKey(t.Context(), "gate")
		if err != nil || !pub.Equal(&enc.PublicKey) || id == "" || k.KeyID != "" && id != k.KeyID {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestNewNeeds(t *testing.T) {
	if _, err := identity.New(identity.Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	w := newWorld(t)
	_, err := identity.New(identity.Config{Registry: w.db, Issuer: "a", Audience: "b", Keys: []identity.Key{{Public: &p384.PublicKey}}})
	if err == nil {
		t.Error("a signing key on another curve is taken")
	}
}
