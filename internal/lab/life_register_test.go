package lab_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
)

// register adds a caller with a key for sealed answers; its private half is
// the second result.
func register(t *testing.T, l *lab.Lab, c identity.Client) (*client.Client, *ecdsa.PrivateKey) {
	t.Helper()
	sign, enc := newP256(t), newP256(t)
	c.JWK, c.EncJWK = publicJWK(t, sign), publicJWK(t, enc)
	c.Role = access.Issuer
	db, err := assembly.OpenStore(t.Context(), l.Config, l.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := clientdb.New(db, l.Now).Add(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := client.New(client.Config{BaseURL: l.URL, ClientID: c.ID, Key: sign, HTTP: l.HTTP, Now: l.Now,
		Audience: l.Config.Identity.IssuerURL})
	if err != nil {
		t.Fatal(err)
	}
	return out, enc
}

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publicJWK(t *testing.T, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
