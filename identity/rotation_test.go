package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/identity"
)

// TestKeysChange: a new key signs at once, tokens of the old one are good for as
// long as it is there, and not when it was taken away.
func TestKeysChange(t *testing.T) {
	w := newWorld(t)
	next := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	old := w.token("issuer")
	check := func(token string, good bool) {
		t.Helper()
		if _, err := w.service.Check(t.Context(), token); (err == nil) != good || err != nil && !errors.Is(err, identity.ErrRefused) {
			t.Errorf("good %v: %v", good, err)
		}
	}
	check(old, true)
	if err := w.service.SetKeys([]identity.Key{keyOf(next), keyOf(w.signer)}); err != nil {
		t.Fatal(err)
	}
	fresh := w.token("issuer")
	check(old, true)
	check(fresh, true)
	if header(old)["kid"] == header(fresh)["kid"] {
		t.Error("the new key does not sign")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(must(w.service.KeySet()), &set); err != nil || len(set.Keys) != 2 || set.Keys[0].KeyID != header(fresh)["kid"] {
		t.Errorf("published: %+v, %v", set, err)
	}
	if err := w.service.SetKeys([]identity.Key{keyOf(next)}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute) // what was checked a moment ago is looked at again
	check(old, false)
	check(fresh, true)
	if err := w.service.SetKeys(nil); err == nil {
		t.Error("a service without keys")
	}
	check(fresh, true)
}

// TestKeyOfAnotherProcess: a token of a key that came a moment ago makes the
// service look for it, and a stranger's does not make it look for nonsense.
func TestKeyOfAnotherProcess(t *testing.T) {
	w := newWorld(t)
	next, looks := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), 0
	var late *identity.Service
	cfg := identity.Config{Registry: w.db, Issuer: issuer, Audience: "https://api.tapvault.example", Now: func() time.Time { return w.now },
		Keys: []identity.Key{keyOf(w.signer)}, Renew: func(context.Context) {
			looks++
			if err := late.SetKeys([]identity.Key{keyOf(next), keyOf(w.signer)}); err != nil {
				t.Error(err)
			}
		}}
	late = must(identity.New(cfg))
	if err := w.service.SetKeys([]identity.Key{keyOf(next)}); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Check(t.Context(), w.token("issuer")); err != nil || looks != 1 {
		t.Errorf("looked %d times: %v", looks, err)
	}
	stranger := signed(next, object{"typ": "at+jwt", "kid": "x"}, w.claims("issuer"))
	if _, err := late.Check(t.Context(), stranger); !errors.Is(err, identity.ErrRefused) || looks != 1 {
		t.Errorf("looked %d times for a name that no key of ours has: %v", looks, err)
	}
}
