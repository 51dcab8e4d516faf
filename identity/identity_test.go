package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

const issuer = "https://tapvault.example"

// world is a service over a real database, with clients of every key type.
type world struct {
	t       *testing.T
	now     time.Time
	db      *clientdb.Store
	service *identity.Service
	signer  *ecdsa.PrivateKey // plays jwt-sign; the HSM's own is tested end to end
	keys    map[string]crypto.Signer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC), keys: map[string]crypto.Signer{}}
	clock := func() time.Time { return w.now }
	w.db = clientdb.New(storetest.At(t, clock), clock)
	w.signer = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	w.service = w.issuing(issuer, "https://api.tapvault.example")
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	w.add("issuer", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), access.Issuer, "50120834693")
	w.add("gate", ed, access.Terminal, "")
	w.add("wallet", must(rsa.GenerateKey(rand.Reader, 2048)), access.Wallet, "")
	return w
}

// issuing returns a service that signs with the world's key.
func (w *world) issuing(iss, aud string) *identity.Service {
	w.t.Helper()
	s, err := identity.New(identity.Config{
		Registry: w.db, Issuer: iss, Audience: aud, Now: func() time.Time { return w.now },
		Keys: []identity.Key{keyOf(w.signer)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func keyOf(k *ecdsa.PrivateKey) identity.Key {
	return identity.Key{Public: &k.PublicKey, Sign: func(_ context.Context, digest [32]byte) (sig [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
		if err == nil {
			r.FillBytes(sig[:32])
			s.FillBytes(sig[32:])
		}
		return sig, err
	}}
}

func (w *world) add(id string, k crypto.Signer, role access.Role, requestor string) {
	w.t.Helper()
	w.keys[id] = k
	jwk := must(json.Marshal(jose.JSONWebKey{Key: k.Public(), KeyID: id + "-1"}))
	err := w.db.Add(w.t.Context(), identity.Client{ID: id, Name: id, Role: role, Scopes: access.ForRole(role), Requestor: requestor, JWK: jwk})
	if err != nil {
		w.t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type object map[string]any

// claims are those of a good assertion of id, fresh each time.
func (w *world) claims(id string) object {
	return object{"iss": id, "sub": id, "aud": issuer + "/oauth2/token", "jti": rand.Text(),
		"iat": w.now.Unix(), "exp": w.now.Add(time.Minute).Unix()}
}

func (w *world) assertion(id string) string {
	return signed(w.keys[id], object{}, w.claims(id))
}

var methods = map[string]jwt.SigningMethod{"ES256": jwt.SigningMethodES256, "EdDSA": jwt.SigningMethodEdDSA, "PS256": jwt.SigningMethodPS256}

func algOf(k crypto.Signer) string {
	switch k.(type) {
	case *ecdsa.PrivateKey:
		return "ES256"
	case ed25519.PrivateKey:
		return "EdDSA"
	}
	return "PS256"
}

// signed makes a JWT with any header and claims at all.
func signed(k crypto.Signer, header, claims object) string {
	h := object{"alg": algOf(k), "typ": "JWT"}
	for name, v := range header {
		h[name] = v
	}
	return signedText(k, string(must(json.Marshal(h))), string(must(json.Marshal(claims))))
}

func signedText(k crypto.Signer, header, claims string) string {
	text := b64(header) + "." + b64(claims)
	return text + "." + b64(string(must(methods[algOf(k)].Sign(text, k))))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (w *world) token(id string) string {
	w.t.Helper()
	g, err := w.service.Exchange(w.t.Context(), w.assertion(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return g.Token
}

func TestExchangeAndCheck(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"issuer", "gate", "wallet"} {
		g, err := w.service.Exchange(t.Context(), w.assertion(id))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if g.Client != id || g.ExpiresIn != 10*time.Minute {
			t.Errorf("%s: %+v", id, g)
		}
		for range 2 { // parsed, then cached
			c, err := w.service.Check(t.Context(), g.Token)
			if err != nil || c.ID != id || len(c.Scopes) != len(access.ForRole(c.Role)) {
				t.Errorf("%s: %+v, %v", id, c, err)
			}
		}
	}
	c, err := w.service.Check(t.Context(), w.token("issuer"))
	if err != nil || c.Requestor != "50120834693" || access.Allow(c, access.Detokenize) != nil || access.Allow(c, access.KeyRead) == nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestScopesNarrow(t *testing.T) {
	w := newWorld(t)
	g, err := w.service.Exchange(t.Context(), w.assertion("issuer"), access.TokenRead)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.service.Check(t.Context(), g.Token)
	if err != nil || len(c.Scopes) != 1 || c.Scopes[0] != access.TokenRead {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := w.service.Exchange(t.Context(), w.assertion("issuer"), access.KeyRead); !errors.Is(err, identity.ErrScope) {
		t.Errorf("a scope it does not have: %v", err)
	}
}

// TestAssertionAttacks: each line is an assertion that must be refused, and
// why.
func TestAssertionAttacks(t *testing.T) {
	w := newWorld(t)
	issuerKey, other := w.keys["issuer"], must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	publicJWK := object{"kty": "EC"}
	with := func(name string, v any) object { c := w.claims("issuer"); c[name] = v; return c }
	without := func(name string) object { c := w.claims("issuer"); delete(c, name); return c }
	head := func(name string, v any) string { return signed(issuerKey, object{name: v}, w.claims("issuer")) }
	good := string(must(json.Marshal(w.claims("issuer"))))
	in := func(d time.Duration) int64 { return w.now.Add(d).Unix() }
	used := w.assertion("issuer")
	if _, err := w.service.Exchange(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	for name, assertion := range map[string]string{
		"alg none":                     b64(`{"alg":"none"}`) + "." + b64(good) + ".",
		"alg None":                     b64(`{"alg":"None"}`) + "." + b64(good) + ".",
		"alg none, signature left":     b64(`{"alg":"none"}`) + "." + strings.SplitN(w.assertion("issuer"), ".", 2)[1],
		"HS256 with the public key":    hs256(issuerKey.Public(), good),
		"RS256":                        rs256(w.keys["wallet"].(*rsa.PrivateKey), w.claims("wallet")),
		"ES256 key under EdDSA":        head("alg", "EdDSA"),
		"another client's key":         signed(w.keys["gate"], object{}, w.claims("issuer")),
		"a stranger's key":             signed(other, object{}, w.claims("issuer")),
		"foreign kid":                  head("kid", "gate-1"),
		"kid that is no text":          head("kid", 7),
		"jku":                          head("jku", "https://evil.example/keys"),
		"x5u":                          head("x5u", "https://evil.example/cert"),
		"x5c":                          head("x5c", []string{"MIIB"}),
		"jwk":                          head("jwk", publicJWK),
		"crit":                         head("crit", []string{"exp"}),
		"b64":                          head("b64", false),
		"zip":                          head("zip", "DEF"),
		"typ of an access token":       head("typ", "at+jwt"),
		"expired":                      signed(issuerKey, object{}, with("exp", in(-31*time.Second))),
		"no exp":                       signed(issuerKey, object{}, without("exp")),
		"good for too long":            signed(issuerKey, object{}, with("exp", in(6*time.Minute))),
		"not yet valid":                signed(issuerKey, object{}, with("nbf", in(2*time.Minute))),
		"made in the future":           signed(issuerKey, object{}, with("iat", in(2*time.Minute))),
		"made long ago":                signed(issuerKey, object{}, with("iat", in(-time.Hour))),
		"never valid":                  signed(issuerKey, object{}, with("nbf", 1e300)),
		"for ever":                     signed(issuerKey, object{}, with("exp", 1e300)),
		"ends before there were dates": signed(issuerKey, object{}, with("nbf", -1e18)),
		"jti with a zero byte":         signed(issuerKey, object{}, with("jti", "a\x00b")),
		"jti with half a character":    signedText(issuerKey, `{"alg":"ES256"}`, strings.Replace(good, `"jti":"`, `"jti":"\ud800`, 1)),
		"exp is text":                  signed(issuerKey, object{}, with("exp", "soon")),
		"wrong aud":                    signed(issuerKey, object{}, with("aud", "https://other.example")),
		"no aud":                       signed(issuerKey, object{}, without("aud")),
		"two auds":                     signed(issuerKey, object{}, with("aud", []string{issuer, "https://other.example"})),
		"iss is not sub":               signed(issuerKey, object{}, with("sub", "gate")),
		"no sub":                       signed(issuerKey, object{}, without("sub")),
		"no iss":                       signed(issuerKey, object{}, without("iss")),
		"unknown client":               signed(issuerKey, object{}, object{"iss": "nobody", "sub": "nobody", "aud": issuer, "jti": "1", "exp": in(time.Minute)}),
		"client id that is none":       signed(issuerKey, object{}, with("iss", "issuer' OR 1=1 --")),
		"no jti":                       signed(issuerKey, object{}, without("jti")),
		"empty jti":                    signed(issuerKey, object{}, with("jti", "")),
		"long jti":                     signed(issuerKey, object{}, with("jti", strings.Repeat("x", 129))),
		"used before":                  used,
		"oversized":                    signed(issuerKey, object{}, with("pad", strings.Repeat("x", 4096))),
		"claim twice":                  signedText(issuerKey, `{"alg":"ES256"}`, strings.Replace(good, "{", `{"iss":"gate",`, 1)),
		"claim twice in another case":  signedText(issuerKey, `{"alg":"ES256"}`, strings.Replace(good, "{", `{"ISS":"gate",`, 1)),
		"claim twice by folding":       signedText(issuerKey, `{"alg":"ES256"}`, strings.Replace(good, "{", `{"iſſ":"gate",`, 1)),
		"header member twice":          signedText(issuerKey, `{"alg":"none","alg":"ES256"}`, good),
		"claim twice deep inside":      signedText(issuerKey, `{"alg":"ES256"}`, strings.Replace(good, "{", `{"x":{"a":1,"a":2},`, 1)),
		"nested deep":                  signedText(issuerKey, `{"alg":"ES256"}`, strings.Replace(good, "{", `{"x":[[[[[[1]]]]]],`, 1)),
		"text behind the claims":       signedText(issuerKey, `{"alg":"ES256"}`, good+"{}"),
		"claims are no object":         signedText(issuerKey, `{"alg":"ES256"}`, `["iss"]`),
		"no signature":                 strings.Join(strings.Split(w.assertion("issuer"), ".")[:2], ".") + ".",
		"two parts":                    b64(`{"alg":"ES256"}`) + "." + b64(good),
		"four parts":                   w.assertion("issuer") + ".x",
		"padding":                      strings.Replace(w.assertion("issuer"), ".", "=.", 1),
		"DER signature":                derSigned(issuerKey.(*ecdsa.PrivateKey), good),
		"claims tampered":              tamper(w.assertion("issuer"), 1),
		"signature tampered":           tamper(w.assertion("issuer"), 2),
		"an access token":              w.token("issuer"),
		"empty":                        "",
	} {
		_, err := w.service.Exchange(t.Context(), assertion)
		if !errors.Is(err, identity.ErrRefused) && !errors.Is(err, identity.ErrUnknown) && !errors.Is(err, identity.ErrSpent) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: the error repeats what was sent: %v", name, err)
		}
	}
	if _, err := w.service.Exchange(t.Context(), head("kid", "issuer-1")); err != nil {
		t.Errorf("the client's own kid: %v", err)
	}
}

// TestAccessAttacks: each line is an access token that must be refused.
func TestAccessAttacks(t *testing.T) {
	w := newWorld(t)
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	good := w.token("issuer")
	kid := header(good)["kid"]
	claims := func(name string, v any) object {
		c := object{"iss": issuer, "aud": "https://api.tapvault.example", "sub": "issuer", "client_id": "issuer", "jti": "1",
			"iat": w.now.Unix(), "nbf": w.now.Unix(), "exp": w.now.Add(time.Minute).Unix(), "role": "issuer", "scope": "tokens:read"}
		if c[name] = v; v == nil {
			delete(c, name)
		}
		return c
	}
	ours := func(h object, c object) string {
		for name, v := range (object{"typ": "at+jwt", "kid": kid}) {
			if _, ok := h[name]; !ok {
				h[name] = v
			}
		}
		return signed(w.signer, h, c)
	}
	if _, err := w.service.Check(t.Context(), ours(object{}, claims("x", 1))); err != nil {
		t.Fatalf("the form that the attacks start from is refused: %v", err)
	}
	text := string(must(json.Marshal(claims("x", 1))))
	for name, bearer := range map[string]string{
		"alg none":             b64(fmt.Sprintf(`{"alg":"none","typ":"at+jwt","kid":%q}`, kid)) + "." + b64(text) + ".",
		"HS256":                hs256(&w.signer.PublicKey, text),
		"another key, our kid": signed(other, object{"typ": "at+jwt", "kid": kid}, claims("x", 1)),
		"foreign kid":          ours(object{"kid": "other"}, claims("x", 1)),
		"no kid":               ours(object{"kid": ""}, claims("x", 1)),
		"no typ":               ours(object{"typ": "JWT"}, claims("x", 1)),
		"jku":                  ours(object{"jku": "https://evil.example"}, claims("x", 1)),
		"jwk":                  ours(object{"jwk": object{"kty": "EC"}}, claims("x", 1)),
		"expired":              ours(object{}, claims("exp", w.now.Unix())),
		"no exp":               ours(object{}, claims("exp", nil)),
		"not yet valid":        ours(object{}, claims("nbf", w.now.Add(31*time.Second).Unix())),
		"wrong iss":            ours(object{}, claims("iss", "https://other.example")),
		"no iss":               ours(object{}, claims("iss", nil)),
		"wrong aud":            ours(object{}, claims("aud", issuer)),
		"aud among others":     ours(object{}, claims("aud", []string{"https://api.tapvault.example", "x"})),
		"no aud":               ours(object{}, claims("aud", nil)),
		"no jti":               ours(object{}, claims("jti", nil)),
		"no sub":               ours(object{}, claims("sub", nil)),
		"sub is not client_id": ours(object{}, claims("sub", "gate")),
		"unknown client":       ours(object{}, func() object { c := claims("sub", "nobody"); c["client_id"] = "nobody"; return c }()),
		"claim twice":          signedText(w.signer, fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%q}`, kid), strings.Replace(text, "{", `{"Role":"officer",`, 1)),
		"oversized":            ours(object{}, claims("pad", strings.Repeat("x", 4096))),
		"claims tampered":      tamper(good, 1),
		"signature tampered":   tamper(good, 2),
		"an assertion":         w.assertion("issuer"),
		"another issuer's":     must(w.issuing("https://other.example", "x").Exchange(t.Context(), signed(w.keys["issuer"], object{}, func() object { c := w.claims("issuer"); c["aud"] = "x"; return c }()))).Token,
		"empty":                "",
		"no token":             "abc",
	} {
		if _, err := w.service.Check(t.Context(), bearer); !errors.Is(err, identity.ErrRefused) && !errors.Is(err, identity.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func header(compact string) (h map[string]string) {
	b := must(base64.RawURLEncoding.DecodeString(strings.SplitN(compact, ".", 2)[0]))
	if err := json.Unmarshal(b, &h); err != nil {
		panic(err)
	}
	return h
}

func hs256(public crypto.PublicKey, claims string) string {
	text := b64(`{"alg":"HS256","typ":"JWT"}`) + "." + b64(claims)
	m := hmac.New(sha256.New, must(x509.MarshalPKIXPublicKey(public)))
	m.Write([]byte(text))
	return text + "." + b64(string(m.Sum(nil)))
}

func rs256(k *rsa.PrivateKey, claims object) string {
	text := b64(`{"alg":"RS256","typ":"JWT"}`) + "." + b64(string(must(json.Marshal(claims))))
	return text + "." + b64(string(must(jwt.SigningMethodRS256.Sign(text, k))))
}

func derSigned(k *ecdsa.PrivateKey, claims string) string {
	text := b64(`{"alg":"ES256"}`) + "." + b64(claims)
	d := sha256.Sum256([]byte(text))
	return text + "." + b64(string(must(ecdsa.SignASN1(rand.Reader, k, d[:]))))
}

// tamper changes one bit in the middle of a part.
func tamper(compact string, part int) string {
	parts := strings.Split(compact, ".")
	b := must(base64.RawURLEncoding.DecodeString(parts[part]))
	b[len(b)/2] ^= 1
	parts[part] = base64.RawURLEncoding.EncodeToString(b)
	return strings.Join(parts, ".")
}

func TestTokenEnds(t *testing.T) {
	w := newWorld(t)
	bearer := w.token("gate")
	w.now = w.now.Add(10*time.Minute - time.Second)
	if _, err := w.service.Check(t.Context(), bearer); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	w.now = w.now.Add(time.Second)
	if _, err := w.service.Check(t.Context(), bearer); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("at its end, cached: %v", err)
	}
	if _, err := w.issuing(issuer, "https://api.tapvault.example").Check(t.Context(), bearer); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("at its end, not cached: %v", err)
	}
}

// TestDisabledClient: a disabled client gets no token, and the one it has is
// believed for no longer than the recheck interval.
func TestDisabledClient(t *testing.T) {
	w := newWorld(t)
	bearer := w.token("gate")
	if _, err := w.service.Check(t.Context(), bearer); err != nil {
		t.Fatal(err)
	}
	if err := w.db.SetDisabled(t.Context(), "gate", true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.Exchange(t.Context(), w.assertion("gate")); !errors.Is(err, identity.ErrRefused) {
		t.Errorf("a disabled client logs in: %v", err)
	}
	w.now = w.now.Add(30 * time.Second)
	for range 2 {
		if _, err := w.service.Check(t.Context(), bearer); !errors.Is(err, identity.ErrRefused) {
			t.Errorf("a disabled client is believed: %v", err)
		}
	}
	if err := w.db.SetDisabled(t.Context(), "gate", false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.Check(t.Context(), bearer); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	if err := w.db.SetDisabled(t.Context(), "nobody", true); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("disabling nobody: %v", err)
	}
}

// TestKeyRotation: tokens of the key before are believed as long as it is
// listed, and new ones name the new key.
func TestKeyRotation(t *testing.T) {
	w := newWorld(t)
	old := w.token("gate")
	next := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	s, err := identity.New(identity.Config{Registry: w.db, Issuer: issuer, Audience: "https://api.tapvault.example",
		Now: func() time.Time { return w.now }, Keys: []identity.Key{keyOf(next), keyOf(w.signer)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(t.Context(), old); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	set, err := s.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(set, &keys); err != nil || len(keys.Keys) != 2 || strings.Contains(string(set), `"d"`) {
		t.Fatalf("%s: %v", set, err)
	}
	// Anyone can check a token with the published keys alone.
	w.service = s
	fresh := w.token("gate")
	parsed, err := jwt.Parse(fresh, func(j *jwt.Token) (any, error) { return keys.Key(j.Header["kid"].(string))[0].Key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(func() time.Time { return w.now }))
	if err != nil || !parsed.Valid || header(fresh)["kid"] == header(old)["kid"] {
		t.Errorf("%v, %v", parsed, err)
	}
}

func TestSignerFails(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("the module is gone")
	k := keyOf(w.signer)
	k.Sign = func(context.Context, [32]byte) ([64]byte, error) { return [64]byte{}, broken }
	s, err := identity.New(identity.Config{Registry: w.db, Issuer: issuer, Audience: "x", Keys: []identity.Key{k}, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	a := w.assertion("gate")
	if _, err := s.Exchange(t.Context(), a); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, err := w.service.Exchange(t.Context(), a); !errors.Is(err, identity.ErrSpent) {
		t.Errorf("an assertion is spent even when the answer was lost: %v", err)
	}
}
