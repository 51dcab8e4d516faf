package credential_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

func signWith(t testing.TB, k *ecdsa.PrivateKey) func([32]byte) ([64]byte, error) {
	t.Helper()
	return func(d [32]byte) (sig [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, d[:])
		if err != nil {
			return sig, err
		}
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig, nil
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sample(t testing.TB, k *ecdsa.PrivateKey) credential.Credential {
	t.Helper()
	n, err := token.ParseNumber("3104201234567890123")
	if err != nil {
		t.Fatal(err)
	}
	dev := newKey(t)
	c := credential.Credential{
		IssuerID: [4]byte{0x10, 0x20, 0x30, 0x40}, KeyID: 7, Number: n,
		NotBefore: time.Date(2026, 3, 1, 19, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 3, 2, 19, 0, 0, 0, time.UTC),
		MaxTap: 1000, Limit: 10000, CtrFirst: 5, CtrCount: 10,
		DeviceKey: [33]byte(elliptic.MarshalCompressed(elliptic.P256(), dev.X, dev.Y)),
	}
	c, err = c.Sign(signWith(t, k))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUD(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 0, 1, 0, time.UTC)
	u, err := credential.NewUD(at, 0x1234, 1000, credential.Medium, 0x21)
	if err != nil {
		t.Fatal(err)
	}
	want := [8]byte{0, 0, 28, 0x12, 0x34, 0, 100, 0x31}
	if u.Bytes() != want {
		t.Fatalf("bytes %X, want %X", u.Bytes(), want)
	}
	if u.Limit() != 1000 || !u.Expires().Equal(time.Date(2020, 1, 2, 4, 0, 0, 0, time.UTC)) || u.Class.String() != "M" {
		t.Fatalf("limit %d, expires %v, class %v", u.Limit(), u.Expires(), u.Class)
	}
	if h := credential.Hours(time.Date(2020, 1, 2, 3, 0, 0, 0, time.UTC)); h != 27 {
		t.Fatalf("a whole hour is not rounded: %d", h)
	}
	bad := map[string][]byte{
		"short": {0, 0, 1, 0, 0, 0, 1}, "long": {0, 0, 1, 0, 0, 0, 1, 0x11, 0},
		"no expiry": {0, 0, 0, 0, 0, 0, 1, 0x11}, "no cap": {0, 0, 1, 0, 0, 0, 0, 0x11},
		"class 0": {0, 0, 1, 0, 0, 0, 1, 0x01}, "class 5": {0, 0, 1, 0, 0, 0, 1, 0x51},
		"key version 0": {0, 0, 1, 0, 0, 0, 1, 0x10}, "endless": {255, 255, 255, 0, 0, 0, 1, 0x11},
	}
	for name, b := range bad {
		if _, err := credential.ParseUD(b); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, limit := range []token.Amount{0, 5, 655360} {
		if _, err := credential.NewUD(at, 1, limit, credential.Medium, 1); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestCredentialVerify(t *testing.T) {
	k := newKey(t)
	c := sample(t, k)
	b := c.Bytes()
	got, err := credential.Parse(b[:])
	if err != nil {
		t.Fatal(err)
	}
	if got.Bytes() != b || got.Number.Digits() != c.Number.Digits() {
		t.Fatal("parsed credential prints differently")
	}
	pinned := credential.Keys{7: &k.PublicKey}
	if err := got.Verify(pinned); err != nil {
		t.Fatal(err)
	}
	other := newKey(t)
	for name, keys := range map[string]credential.Keys{
		"no keys": nil, "foreign kid": {8: &k.PublicKey}, "another key under the kid": {7: &other.PublicKey},
	} {
		if err := got.Verify(keys); !errors.Is(err, credential.ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range b { // every bit counts: it fails to parse, or to verify
		m := b
		m[i] ^= 1
		x, err := credential.Parse(m[:])
		if err == nil && x.Verify(pinned) == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
	self := sample(t, other) // signed by itself, not by the issuer
	if err := self.Verify(pinned); !errors.Is(err, credential.ErrUntrusted) {
		t.Errorf("self-signed: %v", err)
	}
}

func TestCredentialNegatives(t *testing.T) {
	c := sample(t, newKey(t))
	good := c.Bytes()
	edit := func(f func(b []byte)) []byte { b := good; f(b[:]); return b[:] }
	for name, b := range map[string][]byte{
		"empty": nil, "short": good[:130], "trailing byte": append(edit(func([]byte) {}), 0),
		"format":           edit(func(b []byte) { b[0] = 0x80 }),
		"SM2":              edit(func(b []byte) { b[66] = 2 }),
		"hex digit":        edit(func(b []byte) { b[8] = 0xA1 }),
		"digit after fill": edit(func(b []byte) { b[15] = 0xF1 }),
		"leading zero":     edit(func(b []byte) { b[7] = 0x01 }),
		"empty window":     edit(func(b []byte) { copy(b[21:25], b[17:21]) }),
		"no counters":      edit(func(b []byte) { b[32] = 0 }),
		"counters wrap":    edit(func(b []byte) { b[30], b[31], b[32] = 0xFF, 0xFF, 2 }),
		"cap above limit":  edit(func(b []byte) { b[26] = 0xFF }),
		"no cap":           edit(func(b []byte) { b[26], b[27] = 0, 0 }),
		"off the curve":    edit(func(b []byte) { b[33] = 4 }),
	} {
		if _, err := credential.Parse(b); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCovers(t *testing.T) {
	c := sample(t, newKey(t))
	ud := func(hours int, ctr uint16, limit token.Amount) credential.UD {
		u, err := credential.NewUD(c.NotAfter.Add(time.Duration(hours)*time.Hour), ctr, limit, credential.Medium, 1)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, tc := range []struct {
		name string
		u    credential.UD
		want bool
	}{
		{"first", ud(0, 5, 1000), true}, {"last", ud(0, 14, 1000), true}, {"earlier end", ud(-3, 5, 10), true},
		{"before range", ud(0, 4, 1000), false}, {"after range", ud(0, 15, 1000), false},
		{"cap raised", ud(0, 5, 1010), false}, {"an hour longer", ud(1, 5, 1000), false},
		{"ended before it began", ud(-24, 5, 1000), false},
	} {
		if got := c.Covers(tc.u); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestProof(t *testing.T) {
	k, dev := newKey(t), newKey(t)
	c := sample(t, k)
	c.DeviceKey = [33]byte(elliptic.MarshalCompressed(elliptic.P256(), dev.X, dev.Y))
	c, err := c.Sign(signWith(t, k))
	if err != nil {
		t.Fatal(err)
	}
	u, _ := credential.NewUD(c.NotAfter, 5, 1000, credential.Medium, 1)
	p := credential.Proof{Ctr: 5, Made: c.NotBefore, Valid: time.Minute}
	if p.Signature, err = signWith(t, dev)(p.Digest(c, u)); err != nil {
		t.Fatal(err)
	}
	b := credential.Presentation{UD: u, Credential: c, Proof: p}.Bytes()
	if len(b) != 212 {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := credential.ParsePresentation(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Proof.Verify(got.Credential, got.UD); err != nil {
		t.Fatal(err)
	}
	u2 := u
	u2.Cap++
	for name, err := range map[string]error{
		"another slot": p.Verify(c, u2), "another device": p.Verify(sample(t, k), u), "none": credential.Proof{}.Verify(c, u),
	} {
		if !errors.Is(err, credential.ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"nothing": nil, "trailing": append(b, 0), "short": b[:211], "version": append([]byte{2}, b[1:]...)} {
		if _, err := credential.ParsePresentation(b); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPresentation(f *testing.F) {
	c := sample(f, newKey(f))
	u, _ := credential.NewUD(c.NotAfter, 5, 1000, credential.Medium, 1)
	f.Add(credential.Presentation{UD: u, Credential: c}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := credential.ParsePresentation(b)
		if err != nil {
			return
		}
		if string(p.Bytes()) != string(b) {
			t.Fatal("print is not the inverse of parse")
		}
	})
}

func FuzzUD(f *testing.F) {
	f.Add([]byte{0, 0, 28, 0x12, 0x34, 0, 100, 0x31})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := credential.ParseUD(b)
		if err != nil {
			return
		}
		if out := u.Bytes(); string(out[:]) != string(b) {
			t.Fatal("print is not the inverse of parse")
		}
	})
}
