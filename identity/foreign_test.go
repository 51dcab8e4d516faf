package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
)

// oneKey is another issuer's keys: one, under one name.
type oneKey struct{ now *ecdsa.PrivateKey }

func (k oneKey) Key(context.Context, string) (identity.ForeignKey, error) {
	return identity.ForeignKey{Alg: "ES256", Public: &k.now.PublicKey}, nil
}

func believing(w *world, name string, keys identity.KeySource) (*identity.Service, error) {
	return identity.New(identity.Config{Registry: w.db, Issuer: issuer, Audience: "x", Keys: []identity.Key{keyOf(w.signer)},
		Now: func() time.Time { return w.now }, Issuers: []identity.Issuer{{Name: name, Issuer: "https://corp.example", Audience: "tapvault", Keys: keys,
			Grants: []identity.Rule{{Claim: "team", Value: "ops", Role: access.Operator, Scopes: []access.Action{access.RangeRead}}}}}})
}

// TestKeyReplacedUnderItsName: an issuer that puts a new key in the place of a
// stolen one, under the same kid, takes the thief's tokens back, also those that
// were seen before.
func TestKeyReplacedUnderItsName(t *testing.T) {
	w := newWorld(t)
	stolen, next := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	keys := &oneKey{stolen}
	s := must(believing(w, "corp", keys))
	token := func(k *ecdsa.PrivateKey) string {
		return signed(k, object{"kid": "k1"}, object{"iss": "https://corp.example", "aud": "tapvault", "sub": "alice", "team": "ops",
			"iat": w.now.Unix(), "exp": w.now.Add(time.Hour).Unix()})
	}
	thief := token(stolen)
	if c, err := s.Check(t.Context(), thief); err != nil || c.ID != "corp:alice" {
		t.Fatalf("%+v, %v", c, err)
	}
	keys.now = next
	w.now = w.now.Add(30 * time.Second)
	if _, err := s.Check(t.Context(), thief); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("a token of the key that was replaced: %v", err)
	}
	if _, err := s.Check(t.Context(), token(next)); err != nil {
		t.Errorf("a token of the new one: %v", err)
	}
}

// TestIssuerNames: another issuer's subjects cannot be taken for who works at the
// machine, nor for a count of something else.
func TestIssuerNames(t *testing.T) {
	w := newWorld(t)
	for name, good := range map[string]bool{"corp": true, "local": false, "http": false, "service": false, "": false, "Corp": false, "a:b": false} {
		if _, err := believing(w, name, oneKey{}); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestClocksApart: a token is good at a process whose clock is a little behind
// that of the one that made it, and ends no later for it; a clock that is set back
// does not keep a disabled client.
func TestClocksApart(t *testing.T) {
	w := newWorld(t)
	w.now = w.now.Add(500 * time.Millisecond)
	bearer := w.token("gate")
	other := w.issuing(issuer, "https://api.tapvault.example")
	w.now = w.now.Add(-2 * time.Second)
	if _, err := other.Check(t.Context(), bearer); err != nil {
		t.Errorf("two seconds behind: %v", err)
	}
	w.now = w.now.Add(-time.Minute)
	if _, err := w.issuing(issuer, "https://api.tapvault.example").Check(t.Context(), bearer); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("a minute behind: %v", err)
	}
	if err := w.db.SetDisabled(t.Context(), "gate", true); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(-time.Hour)
	if _, err := other.Check(t.Context(), bearer); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("a disabled client, after the clock was set back: %v", err)
	}
}
