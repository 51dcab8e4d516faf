package intake_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/internal/fault"
)

const (
	pan  = "6222021234567894"
	card = `{"pan":"` + pan + `","expiry":"2912"}`
)

// versions are two versions of the intake key on a real token.
func versions(t *testing.T) (*hsm.Token, []intake.Key) {
	t.Helper()
	refs := []keyref.Ref{{Usage: keyref.Intake, Version: 2}, {Usage: keyref.Intake, Version: 1}}
	tok := hsmtest.New(t, hsmtest.Options{Refs: refs})
	var keys []intake.Key
	for _, r := range refs {
		pub, err := tok.PublicKey(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, intake.Key{Public: pub, Agree: func(ctx context.Context, peer *ecdh.PublicKey, use func([]byte) error) error {
			return tok.ECDH(ctx, r, peer, use)
		}})
	}
	return tok, keys
}

// served returns the keys as a sender reads them.
func served(t *testing.T, s *intake.Service) []jose.JSONWebKey {
	t.Helper()
	b, err := s.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		if !k.IsPublic() || k.Use != "enc" || k.Algorithm != "ECDH-ES+A256KW" || k.KeyID == "" {
			t.Fatalf("served: %s", b)
		}
	}
	return set.Keys
}

// seal is what any sender does with a library of its own.
func seal(t *testing.T, key any, alg jose.KeyAlgorithm, enc jose.ContentEncryption, o *jose.EncrypterOptions, payload string) string {
	t.Helper()
	e, err := jose.NewEncrypter(enc, jose.Recipient{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := e.Encrypt([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	s, err := obj.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func good(t *testing.T, key any, payload string) string {
	t.Helper()
	return seal(t, key, jose.ECDH_ES_A256KW, jose.A256GCM, nil, payload)
}

func newService(t *testing.T, keys ...intake.Key) *intake.Service {
	t.Helper()
	s, err := intake.New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpen(t *testing.T) {
	_, keys := versions(t)
	s := newService(t, keys...)
	pub := served(t, s)
	typed := &jose.EncrypterOptions{ExtraHeaders: map[jose.HeaderKey]any{"typ": "JOSE", "cty": "application/json"}}
	for name, sealed := range map[string]string{
		"to the served key":      good(t, pub[0], card),
		"to the older version":   good(t, pub[1], card),
		"without a key id":       good(t, keys[0].Public, card),
		"typed":                  seal(t, pub[0], jose.ECDH_ES_A256KW, jose.A256GCM, typed, card),
		"for its sender alone":   good(t, pub[0], `{"pan":"`+pan+`","expiry":"2912","client_id":"bank"}`),
		"with spaces and in two": good(t, pub[0], " {\n\"expiry\":\"2912\", \"pan\":\""+pan+"\"} "),
	} {
		c, err := s.Open(t.Context(), "bank", sealed)
		if err != nil || c.PAN.Reveal() != pan || c.Expiry != "2912" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	tok, keys := versions(t)
	s := newService(t, keys...)
	pub := served(t, s)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ok := good(t, pub[0], card)
	with := func(k jose.HeaderKey, v any) *jose.EncrypterOptions {
		return &jose.EncrypterOptions{ExtraHeaders: map[jose.HeaderKey]any{k: v}}
	}
	zip := &jose.EncrypterOptions{Compression: jose.DEFLATE}
	for name, sealed := range map[string]string{
		"nothing":                  "",
		"no JWE":                   "{}",
		"a card number":            pan,
		"to a stranger":            good(t, &stranger.PublicKey, card),
		"to another key's name":    good(t, jose.JSONWebKey{Key: pub[0].Key, KeyID: "other"}, card),
		"to one key by another's":  good(t, jose.JSONWebKey{Key: pub[0].Key, KeyID: pub[1].KeyID}, card),
		"another curve":            good(t, &p384.PublicKey, card),
		"no key wrap":              seal(t, pub[0].Key, jose.ECDH_ES, jose.A256GCM, nil, card),
		"a shorter key wrap":       seal(t, pub[0].Key, jose.ECDH_ES_A128KW, jose.A256GCM, nil, card),
		"another content cipher":   seal(t, pub[0].Key, jose.ECDH_ES_A256KW, jose.A256CBC_HS512, nil, card),
		"compressed":               seal(t, pub[0].Key, jose.ECDH_ES_A256KW, jose.A256GCM, zip, card),
		"a critical extension":     seal(t, pub[0].Key, jose.ECDH_ES_A256KW, jose.A256GCM, with("crit", []string{"x"}), card),
		"an unknown member":        seal(t, pub[0].Key, jose.ECDH_ES_A256KW, jose.A256GCM, with("x5u", "http://example.com"), card),
		"a named party":            seal(t, pub[0], jose.ECDH_ES_A256KW, jose.A256GCM, with("apu", "QWxpY2U"), card),
		"too long":                 good(t, pub[0], card+strings.Repeat(" ", 4096)),
		"another client's":         good(t, pub[0], `{"pan":"`+pan+`","expiry":"2912","client_id":"rival"}`),
		"no JSON":                  good(t, pub[0], pan),
		"an unknown member inside": good(t, pub[0], `{"pan":"`+pan+`","expiry":"2912","cvv":"123"}`),
		"two objects":              good(t, pub[0], card+card),
		"empty":                    good(t, pub[0], ""),
		"a letter more":            ok + "A",
		"a part less":              ok[:strings.LastIndex(ok, ".")],
		"a part more":              ok + ".AAAA",
	} {
		c, err := s.Open(t.Context(), "bank", sealed)
		if err != intake.ErrSealed || c != (intake.Card{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, payload := range map[string]string{
		"no card number": `{"expiry":"2912"}`, "no expiry": `{"pan":"` + pan + `"}`, "a month that is none": `{"pan":"` + pan + `","expiry":"2913"}`,
		"a check digit off": `{"pan":"6222021234567890","expiry":"2912"}`, "letters": `{"pan":"622202123456789X","expiry":"2912"}`,
	} {
		c, err := s.Open(t.Context(), "bank", good(t, pub[0], payload))
		if fault.KindOf(err) != fault.Malformed || c != (intake.Card{}) || strings.Contains(err.Error(), "62220212") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := tok.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "bank", ok); fault.KindOf(err) != fault.HSMUnavailable {
		t.Errorf("without its HSM: %v", err)
	}
}

// TestEveryByteCounts changes each letter of a sealed card.
func TestEveryByteCounts(t *testing.T) {
	key, agree := softKey(t)
	s := newService(t, agree)
	ok := good(t, &key.PublicKey, card)
	if _, err := s.Open(t.Context(), "bank", ok); err != nil {
		t.Fatal(err)
	}
	for i := range ok {
		bad := []byte(ok)
		if bad[i] = 'A'; ok[i] == 'A' {
			bad[i] = 'B'
		}
		if _, err := s.Open(t.Context(), "bank", string(bad)); err != intake.ErrSealed {
			t.Fatalf("letter %d changed: %v", i, err)
		}
	}
}

// TestPointsOffTheCurve: a sender that sends points off the curve learns
// nothing about the key, because the HSM never meets them.
func TestPointsOffTheCurve(t *testing.T) {
	key, agree := softKey(t)
	asked := 0
	inner := agree.Agree
	agree.Agree = func(ctx context.Context, peer *ecdh.PublicKey, use func([]byte) error) error {
		asked++
		return inner(ctx, peer, use)
	}
	s := newService(t, agree)
	parts := strings.Split(good(t, &key.PublicKey, card), ".")
	b64 := base64.RawURLEncoding.EncodeToString
	own, err := key.PublicKey.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	point := own.Bytes()
	zero, one := make([]byte, 32), append(make([]byte, 31), 1)
	high := bytes.Repeat([]byte{0xff}, 32)
	for name, p := range map[string][2][]byte{"infinity": {zero, zero}, "off the curve": {one, one}, "over the field": {high, one},
		"short": {one[:31], one}, "long": {append(one, 0), one}, "cut elsewhere": {point[1:32], point[32:]}} {
		h := `{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"kty":"EC","crv":"P-256","x":"` + b64(p[0]) + `","y":"` + b64(p[1]) + `"}}`
		parts[0] = b64([]byte(h))
		if _, err := s.Open(t.Context(), "bank", strings.Join(parts, ".")); err != intake.ErrSealed || asked != 0 {
			t.Errorf("%s: %v, and the key was used %d times", name, err, asked)
		}
	}
	xy := `"x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}}`
	for name, h := range map[string]string{"another type": `"epk":{"kty":"OKP","crv":"P-256",` + xy, "another curve's name": `"epk":{"kty":"EC","crv":"P-384",` + xy} {
		parts[0] = b64([]byte(`{"alg":"ECDH-ES+A256KW","enc":"A256GCM",` + h))
		if _, err := s.Open(t.Context(), "bank", strings.Join(parts, ".")); err != intake.ErrSealed || asked != 0 {
			t.Errorf("%s: %v, and the key was used %d times", name, err, asked)
		}
	}
}

// TestWrappedKeySize: what cannot be a wrapped content key costs the HSM nothing.
func TestWrappedKeySize(t *testing.T) {
	key, agree := softKey(t)
	asked, inner := 0, agree.Agree
	agree.Agree = func(ctx context.Context, peer *ecdh.PublicKey, use func([]byte) error) error {
		asked++
		return inner(ctx, peer, use)
	}
	s := newService(t, agree)
	parts := strings.Split(good(t, &key.PublicKey, card), ".")
	for _, size := range []int{0, 32, 39, 40, 41, 48} {
		parts[1] = base64.RawURLEncoding.EncodeToString(make([]byte, size))
		asked = 0
		if _, err := s.Open(t.Context(), "bank", strings.Join(parts, ".")); err != intake.ErrSealed || (asked == 1) != (size == 40) {
			t.Errorf("%d bytes: %v, and the key was used %d times", size, err, asked)
		}
	}
}

// TestLongestSealed: the bound is on what is sent, and what just fits is opened.
func TestLongestSealed(t *testing.T) {
	key, agree := softKey(t)
	s := newService(t, agree)
	of := func(header, payload int) string {
		typ := &jose.EncrypterOptions{ExtraHeaders: map[jose.HeaderKey]any{"typ": strings.Repeat("x", header)}}
		return seal(t, &key.PublicKey, jose.ECDH_ES_A256KW, jose.A256GCM, typ, card+strings.Repeat(" ", payload))
	}
	room := (4096 - len(of(4, 0))) * 3 / 4
	opened := map[int]error{}
	for n := range 20 { // neither header nor payload alone gives every length
		sealed := of(n%4, room+n/4)
		_, opened[len(sealed)] = s.Open(t.Context(), "bank", sealed)
	}
	for size, want := range map[int]error{4095: nil, 4096: nil, 4097: intake.ErrSealed} {
		if err, ok := opened[size]; !ok || err != want {
			t.Errorf("%d letters: %v, tried: %v", size, err, ok)
		}
	}
}

// TestOneSpelling: a sealed card is one text. Bits that encode nothing and line ends,
// which decoders pass over, would make others of it.
func TestOneSpelling(t *testing.T) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	key, agree := softKey(t)
	s := newService(t, agree)
	parts := strings.Split(good(t, &key.PublicKey, card), ".")
	opened := func(part int, text string) error {
		all := slices.Clone(parts)
		all[part] = text
		_, err := s.Open(t.Context(), "bank", strings.Join(all, "."))
		return err
	}
	for i, p := range parts {
		if err := opened(i, p); err != nil {
			t.Fatal(err)
		}
		last := strings.IndexByte(letters, p[len(p)-1])
		for _, other := range []string{p + "=", p[:len(p)-1] + letters[last^1:last^1+1], p + "\n", "\r" + p, p[:5] + "\r\n" + p[5:]} {
			if err := opened(i, other); err != intake.ErrSealed {
				t.Errorf("part %d as %q...: %v", i, other[len(other)-3:], err)
			}
		}
	}
}

func TestNew(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, agree := softKey(t)
	for name, keys := range map[string][]intake.Key{"no key": nil, "no public half": {{Agree: agree.Agree}},
		"no private half": {{Public: agree.Public}}, "another curve": {{Public: &p384.PublicKey, Agree: agree.Agree}}} {
		if _, err := intake.New(keys...); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// softKey is an intake key in memory, for tests that need no HSM.
func softKey(t testing.TB) (*ecdsa.PrivateKey, intake.Key) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own, err := key.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	return key, intake.Key{Public: &key.PublicKey, Agree: func(_ context.Context, peer *ecdh.PublicKey, use func([]byte) error) error {
		z, err := own.ECDH(peer)
		if err != nil {
			return err
		}
		return use(z)
	}}
}

// FuzzOpen: whatever opens is a card; whatever does not is malformed, and the
// error repeats nothing of it.
func FuzzOpen(f *testing.F) {
	key, agree := softKey(f)
	e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: &key.PublicKey}, nil)
	if err != nil {
		f.Fatal(err)
	}
	s, err := intake.New(agree)
	if err != nil {
		f.Fatal(err)
	}
	for _, payload := range []string{card, "", `{"pan":7}`} {
		obj, err := e.Encrypt([]byte(payload))
		if err != nil {
			f.Fatal(err)
		}
		sealed, err := obj.CompactSerialize()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sealed)
	}
	f.Add("....")
	f.Fuzz(func(t *testing.T, sealed string) {
		c, err := s.Open(t.Context(), "bank", sealed)
		if err != nil && fault.KindOf(err) != fault.Malformed && err != intake.ErrSealed {
			t.Fatal(err)
		}
		if err == nil && (c.PAN.IsZero() || c.Expiry == "") {
			t.Fatal("an empty card")
		}
		if errors.Is(err, intake.ErrSealed) && c != (intake.Card{}) {
			t.Fatal("half a card")
		}
	})
}
