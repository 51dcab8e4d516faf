//go:build cgo

package hsm_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestECDH compares the token's side of an agreement with crypto/ecdh's.
func TestECDH(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{ref(keyref.Intake), ref(keyref.ResultSign)}})
	public, err := tok.PublicKey(t.Context(), ref(keyref.Intake))
	if err != nil {
		t.Fatal(err)
	}
	point, err := public.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // one in 256 secrets begins with a zero byte, which must not be cut
		peer, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		want, err := peer.ECDH(point)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		err = tok.ECDH(t.Context(), ref(keyref.Intake), peer.PublicKey(), func(z []byte) error { got = bytes.Clone(z); return nil })
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the two sides agree on different secrets, or none: %v", err)
		}
	}
}

func TestECDHRefusals(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdh.P384().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	used := errors.New("used")
	use := func([]byte) error { return used }
	in := ref(keyref.Intake)
	if err := tok.ECDH(t.Context(), in, peer.PublicKey(), use); err != used {
		t.Errorf("the user's error comes back as %v", err)
	}
	for name, c := range map[string]struct {
		ref  keyref.Ref
		peer *ecdh.PublicKey
		want error
	}{
		"a signing key":  {ref(keyref.ResultSign), peer.PublicKey(), hsm.ErrKeyUnfit},
		"a HMAC key":     {ref(keyref.PARKey), peer.PublicKey(), hsm.ErrKeyUnfit},
		"no such key":    {keyref.Ref{Usage: keyref.Intake, Version: 9}, peer.PublicKey(), hsm.ErrKeyMissing},
		"another curve":  {in, other.PublicKey(), keyref.ErrMalformed},
		"no peer at all": {in, nil, keyref.ErrMalformed},
	} {
		if err := tok.ECDH(t.Context(), c.ref, c.peer, use); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tok.Sign(t.Context(), in, [32]byte{}); !errors.Is(err, hsm.ErrKeyUnfit) {
		t.Errorf("signing with a key that agrees: %v", err)
	}
}

// TestECDHSurvivesLogout: like every operation, it logs in again by itself.
func TestECDHSurvivesLogout(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{ref(keyref.Intake)}})
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Logout(); err != nil {
		t.Fatal(err)
	}
	calls := 0
	err = tok.ECDH(t.Context(), ref(keyref.Intake), peer.PublicKey(), func(z []byte) error { calls++; return nil })
	if err != nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

// TestNewKeys: each of the service's EC keys bears one use only, and is ready.
func TestNewKeys(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	var points []*ecdsa.PublicKey
	for _, u := range []keyref.Usage{keyref.Intake, keyref.ResultSign, keyref.WebhookSign} {
		p, err := tok.PublicKey(t.Context(), ref(u))
		if err != nil {
			t.Fatalf("%s: %v", u, err)
		}
		for _, other := range points {
			if p.Equal(other) {
				t.Errorf("%s is another key again", u)
			}
		}
		points = append(points, p)
	}
}

func TestUnsealSecret(t *testing.T) {
	tok := hsmtest.New(t, hsmtest.Options{})
	key, aad := ref(keyref.PINSeal), []byte("place 1")
	want := bytes.Repeat([]byte{7}, 32)
	sealed, err := tok.Seal(t.Context(), key, want, aad)
	if err != nil {
		t.Fatal(err)
	}
	used := errors.New("used")
	err = tok.UnsealSecret(t.Context(), key, sealed, aad, func(s []byte) error {
		if !bytes.Equal(s, want) {
			t.Error("another secret")
		}
		return used
	})
	if err != used {
		t.Errorf("the user's error comes back as %v", err)
	}
	short, err := tok.Seal(t.Context(), key, want[:16], aad)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ sealed, aad []byte }{
		"another place": {sealed, []byte("place 2")}, "cut": {sealed[:20], aad}, "another length": {short, aad},
	} {
		if err := tok.UnsealSecret(t.Context(), key, c.sealed, c.aad, func([]byte) error { return used }); err == nil || errors.Is(err, used) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
