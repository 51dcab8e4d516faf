package api_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/lab"
)

type object map[string]any

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// with is o with members changed; nil takes one away.
func (o object) with(change object) object {
	out := maps.Clone(o)
	for name, v := range change {
		if out[name] = v; v == nil {
			delete(out, name)
		}
	}
	return out
}

// es256 signs with a key in memory.
func es256(k *ecdsa.PrivateKey, header, claims string) string {
	signed := b64(header) + "." + b64(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
	if err != nil {
		panic(err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return signed + "." + b64(string(sig[:]))
}

func hs256(secret []byte, header, claims string) string {
	signed := b64(header) + "." + b64(claims)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(signed))
	return signed + "." + b64(string(m.Sum(nil)))
}

func pemOf(k crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// signText signs any text with the service's own key.
func (m *matrix) signText(t *testing.T, header, claims string) string {
	t.Helper()
	signed := b64(header) + "." + b64(claims)
	sig, err := m.HSM.Sign(t.Context(), keyref.Ref{Usage: keyref.JWTSign, Version: 1}, sha256.Sum256([]byte(signed)))
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(string(sig[:]))
}

// attacks are changes that make a good token a bad one, whoever signs it: sign
// makes the signature that would be right.
func attacks(header, claims object, now time.Time, public crypto.PublicKey, sign func(header, claims string) string) map[string]string {
	h, c := text(header), text(claims)
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	good := strings.Split(sign(h, c), ".")
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	head := func(name string, v any) string { return sign(text(header.with(object{name: v})), c) }
	claim := func(name string, v any) string { return sign(h, text(claims.with(object{name: v}))) }
	inside := func(text, member string) string { return strings.Replace(text, "{", "{"+member+",", 1) }
	none := func(alg string) string { return text(header.with(object{"alg": alg})) }
	return map[string]string{
		"alg none":                     b64(none("none")) + "." + b64(c) + ".",
		"alg None":                     b64(none("None")) + "." + b64(c) + ".",
		"alg nOnE, signature left":     b64(none("nOnE")) + "." + b64(c) + "." + good[2],
		"no alg":                       head("alg", nil),
		"HS256 with the public PEM":    hs256(pemOf(public), none("HS256"), c),
		"HS256 with the public point":  hs256(pointOf(public), none("HS256"), c),
		"HS256, empty secret":          hs256(nil, none("HS256"), c),
		"ES384 over P-256":             head("alg", "ES384"),
		"RS256":                        head("alg", "RS256"),
		"a stranger's key":             es256(stranger, h, c),
		"foreign kid":                  head("kid", "another"),
		"kid that is a path":           head("kid", "../../../../dev/null"),
		"kid that is SQL":              head("kid", "x' UNION SELECT 'key' --"),
		"kid that is a number":         head("kid", 7),
		"jku":                          head("jku", "https://evil.example/keys"),
		"x5u":                          head("x5u", "https://evil.example/cert"),
		"x5c":                          head("x5c", []string{"MIIB"}),
		"jwk":                          es256(stranger, text(header.with(object{"jwk": jwkOf(&stranger.PublicKey)})), c),
		"crit":                         head("crit", []string{"exp"}),
		"crit, empty":                  head("crit", []string{}),
		"b64 false":                    head("b64", false),
		"zip":                          head("zip", "DEF"),
		"cty JWT, nested":              sign(text(header.with(object{"cty": "JWT"})), text(strings.Join(good, "."))),
		"typ of a webhook":             head("typ", "tapvault-webhook"),
		"expired":                      claim("exp", at(-31*time.Second)),
		"expired long ago":             claim("exp", at(-100*time.Hour)),
		"no exp":                       claim("exp", nil),
		"exp is text":                  claim("exp", "soon"),
		"exp is huge":                  sign(h, strings.Replace(c, `"exp":`, `"exp":1e400,"x":`, 1)),
		"not yet valid":                claim("nbf", at(2*time.Minute)),
		"made in the future":           claim("iat", at(2*time.Minute)),
		"wrong audience":               claim("aud", "https://other.example"),
		"no audience":                  claim("aud", nil),
		"audience among others":        claim("aud", []any{claims["aud"], "https://other.example"}),
		"wrong issuer":                 claim("iss", "https://other.example"),
		"no issuer":                    claim("iss", nil),
		"no subject":                   claim("sub", nil),
		"no jti":                       claim("jti", nil),
		"oversized":                    claim("pad", strings.Repeat("x", 5000)),
		"claim twice":                  sign(h, inside(c, `"sub":"operator"`)),
		"claim twice in another case":  sign(h, inside(c, `"SUB":"operator"`)),
		"claim twice by an escape":     sign(h, inside(c, `"s\u0075b":"operator"`)),
		"claim twice by folding":       sign(h, inside(c, `"ſub":"operator"`)),
		"header member twice":          sign(inside(h, `"alg":"none"`), c),
		"header member twice, by case": sign(inside(h, `"ALG":"none"`), c),
		"nested deep":                  sign(h, inside(c, `"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100))),
		"text behind the claims":       sign(h, c+"{}"),
		"text behind the header":       sign(h+" x", c),
		"claims are a list":            sign(h, "["+c+"]"),
		"claims are no JSON":           sign(h, "claims"),
		"no signature":                 good[0] + "." + good[1] + ".",
		"two parts":                    good[0] + "." + good[1],
		"four parts":                   strings.Join(good, ".") + ".x",
		"five parts, a JWE":            "a.b.c.d.e",
		"padding":                      good[0] + "=." + good[1] + "." + good[2],
		"bits behind the signature":    good[0] + "." + good[1] + "." + good[2] + "AAAA",
		"signature of zeros":           good[0] + "." + good[1] + "." + b64(strings.Repeat("\x00", 64)),
		"claims of another":            good[0] + "." + b64(text(claims.with(object{"sub": "operator"}))) + "." + good[2],
		"dots":                         "..",
		"nothing":                      "x",
	}
}

func pointOf(k crypto.PublicKey) []byte {
	b, err := k.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		panic(err)
	}
	return b
}

func jwkOf(k *ecdsa.PublicKey) object {
	p := pointOf(k)
	return object{"kty": "EC", "crv": "P-256", "x": b64(string(p[1:33])), "y": b64(string(p[33:]))}
}

// TestTokenAttacks presents bad access tokens to the running service: all are
// answered alike, down to the bytes.
func TestTokenAttacks(t *testing.T) {
	m := newMatrix(t)
	public, err := m.HSM.PublicKey(t.Context(), keyref.Ref{Usage: keyref.JWTSign, Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	now := m.Now()
	header := object{"alg": "ES256", "typ": "at+jwt", "kid": m.kid}
	claims := object{"iss": m.Config.Identity.IssuerURL, "aud": m.Config.Identity.Audience, "sub": "issuer", "client_id": "issuer", "jti": "1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(), "role": "issuer", "scope": "tokens:read", "requestor": "50110000001"}
	sign := func(h, c string) string { return m.signText(t, h, c) }
	all := attacks(header, claims, now, public, sign)
	all["an assertion"] = assertionOf(t, m.Assertion(t, "issuer"))
	all["typ of an assertion"] = sign(text(header.with(object{"typ": "JWT"})), text(claims))
	all["expired a moment ago"] = sign(text(header), text(claims.with(object{"exp": now.Unix()})))
	all["client_id of another"] = sign(text(header), text(claims.with(object{"client_id": "operator"})))
	all["no kid"] = sign(text(header.with(object{"kid": nil})), text(claims))
	all["unknown client"] = sign(text(header), text(claims.with(object{"sub": "nobody", "client_id": "nobody"})))
	all["bound to another certificate"] = sign(text(header), text(claims.with(object{"cnf": object{"x5t#S256": b64(strings.Repeat("x", 32))}})))
	all["bound to a key"] = sign(text(header), text(claims.with(object{"cnf": object{"jkt": "x"}})))
	get := call{Sample: sampleOf(t, "GET", "/v1/tokens")}
	try := func(bearer string) answered {
		a, err := m.send(t.Context(), get, "/v1/tokens", "", bearer)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := try(sign(text(header), text(claims))); a.status != 200 {
		t.Fatalf("the token that the attacks begin with: %d %s", a.status, a.text)
	}
	alike(t, all, try)
}

// TestAssertionAttacksOverHTTP presents bad assertions to the running service.
func TestAssertionAttacksOverHTTP(t *testing.T) {
	m := newMatrix(t)
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.Register(t, identity.Client{ID: "hunted", Role: access.Issuer, Scopes: access.ForRole(access.Issuer), JWK: []byte(text(jwkOf(&k.PublicKey)))})
	now := m.Now()
	header := object{"alg": "ES256", "typ": "JWT"}
	n := 0
	fresh := func() object {
		n++
		return object{"iss": "hunted", "sub": "hunted", "aud": m.Config.Identity.IssuerURL, "jti": fmt.Sprintf("j%d", n), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	}
	sign := func(h, c string) string { return es256(k, h, c) }
	all := attacks(header, fresh(), now, &k.PublicKey, sign)
	used := sign(text(header), text(fresh()))
	all["good for too long"] = sign(text(header), text(fresh().with(object{"exp": now.Add(10 * time.Minute).Unix()})))
	all["jti too long"] = sign(text(header), text(fresh().with(object{"jti": strings.Repeat("j", 200)})))
	all["iss is not sub"] = sign(text(header), text(fresh().with(object{"sub": "operator"})))
	all["an access token"] = m.mint(t, "hunted", access.Issuer, "")
	all["unknown client"] = sign(text(header), text(fresh().with(object{"iss": "nobody", "sub": "nobody"})))
	all["another client's"] = sign(text(header), text(fresh().with(object{"iss": "operator", "sub": "operator"})))
	all["typ of an access token"] = sign(text(header.with(object{"typ": "at+jwt"})), text(fresh()))
	login := call{Sample: sampleOf(t, "POST", "/oauth2/token")}
	try := func(assertion string) answered {
		form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {identity.AssertionType}, "client_assertion": {assertion}}
		a, err := m.send(t.Context(), login, "/oauth2/token", form.Encode(), "")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := try(used); a.status != 200 {
		t.Fatalf("the assertion that the attacks begin with: %d %s", a.status, a.text)
	}
	all["used before"] = used
	// Only the client could have signed these, so it is told.
	for name, claim := range map[string]string{"good for too long": "exp lies", "jti too long": "jti is", "no jti": "jti is", "iss is not sub": "iss and sub", "no subject": "iss and sub"} {
		if a := try(all[name]); a.status != 401 || !strings.Contains(a.text, `"error_description":"client_assertion: `+claim) {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
		delete(all, name)
	}
	alike(t, all, try)
	// Of many at once, one is good.
	raced, wins := sign(text(header), text(fresh())), atomic.Int64{}
	var all16 sync.WaitGroup
	for range 16 {
		all16.Go(func() {
			if try(raced).status == 200 {
				wins.Add(1)
			}
		})
	}
	all16.Wait()
	if wins.Load() != 1 {
		t.Errorf("one assertion was good %d times", wins.Load())
	}
}

// alike tries every attack and holds the answers to each other.
func alike(t *testing.T, all map[string]string, try func(string) answered) {
	t.Helper()
	if len(all) < 60 {
		t.Errorf("only %d attacks", len(all))
	}
	want := try("x.y.z")
	if want.status != 401 || want.kind != "unauthenticated" {
		t.Fatalf("nonsense: %d %s", want.status, want.text)
	}
	for name, token := range all {
		if got := try(token); got != want {
			t.Errorf("%s: %d %s\nnonsense: %s", name, got.status, got.text, want.text)
		}
	}
}

func sampleOf(t *testing.T, method, route string) (s sampled) {
	t.Helper()
	for _, c := range calls(t) {
		if c.Method == method && c.Route == route {
			return c.Sample
		}
	}
	t.Fatalf("no sample of %s %s", method, route)
	return s
}

func assertionOf(t *testing.T, form []byte) string {
	t.Helper()
	v, err := url.ParseQuery(string(form))
	if err != nil {
		t.Fatal(err)
	}
	return v.Get("client_assertion")
}

// TestSigningKeyRotates changes the key of access tokens under a running service
// and its callers: nobody notices, old tokens stay good, both keys are published.
func TestSigningKeyRotates(t *testing.T) {
	m := newMatrix(t)
	old := m.Bearer(t, "operator")["Authorization"][0]
	done, failed := make(chan struct{}), atomic.Int64{}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := m.ClientFor(t, "operator", "").Ranges(t.Context()); err != nil { // logs in anew each time
					failed.Add(1)
					t.Errorf("while keys change: %v", err)
				}
			}
		})
	}
	if err := m.HSM.Generate(t.Context(), keyref.Ref{Usage: keyref.JWTSign, Version: 2}); err != nil {
		t.Fatal(err)
	}
	signedBy := func() string {
		h, _, _ := strings.Cut(strings.TrimPrefix(m.Bearer(t, "operator")["Authorization"][0], "Bearer "), ".")
		b, err := base64.RawURLEncoding.DecodeString(h)
		var head struct{ Kid string }
		if err != nil || json.Unmarshal(b, &head) != nil {
			t.Fatal("a token without a header")
		}
		return head.Kid
	}
	until := time.Now().Add(time.Minute)
	for signedBy() == m.kid {
		if time.Now().After(until) {
			t.Fatal("the new key is not used")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if a := m.Send(t, "GET", "/v1/ranges", http.Header{"Authorization": {old}}, nil); a.Status != 200 {
		t.Errorf("a token of the old key: %d", a.Status)
	}
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(m.Send(t, "GET", "/.well-known/jwks.json", nil, nil).Body, &set); err != nil || len(set.Keys) != 2 || set.Keys[1].Kid != m.kid {
		t.Errorf("published: %+v, %v", set, err)
	}
	close(done)
	callers.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d requests failed", failed.Load())
	}
}

// certificate makes a self-signed one.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// showing is a way to the service with a client certificate, or none.
func (m *matrix) showing(certs ...tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: certs, RootCAs: m.Roots()}}}
}

// TestStolenToken: a token that is bound to a client's certificate is of no use
// without the certificate's key.
func TestStolenToken(t *testing.T) {
	m := &matrix{Lab: lab.New(t, lab.Options{Config: func(c *assembly.Config) { c.TLS.ClientCertificates = true }})}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.Register(t, identity.Client{ID: "bound", Role: access.Operator, Scopes: access.ForRole(access.Operator), Bound: true, JWK: []byte(text(jwkOf(&k.PublicKey)))})
	login := func(h *http.Client) (string, error) {
		c, err := client.New(client.Config{BaseURL: m.URL, ClientID: "bound", Key: k, HTTP: h, Now: m.Now, Audience: m.Config.Identity.IssuerURL})
		if err != nil {
			t.Fatal(err)
		}
		return c.AccessToken(t.Context())
	}
	mine, thief, plain := m.showing(certificate(t)), m.showing(certificate(t)), m.showing()
	token, err := login(mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := login(plain); !client.IsProblem(err, "unauthenticated") {
		t.Errorf("a client whose tokens are bound logs in without a certificate: %v", err)
	}
	status := func(h *http.Client, bearer string) int {
		q, err := http.NewRequestWithContext(context.Background(), "GET", m.URL+"/v1/ranges", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := h.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for range 2 { // read, then cached
		for name, x := range map[string]struct {
			h    *http.Client
			want int
		}{"its own certificate": {mine, 200}, "another certificate": {thief, 401}, "no certificate": {plain, 401}} {
			if got := status(x.h, token); got != x.want {
				t.Errorf("%s: %d, want %d", name, got, x.want)
			}
		}
	}
	// A token from before the client was bound is of no use either.
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(m.Send(t, "GET", "/.well-known/jwks.json", nil, nil).Body, &set); err != nil {
		t.Fatal(err)
	}
	m.kid = set.Keys[0].Kid
	if got := status(mine, m.mint(t, "bound", access.Operator, "", access.RangeRead)); got != 401 {
		t.Errorf("an unbound token of a bound client: %d", got)
	}
}

// TestForeignIssuer: tokens of a configured issuer are believed and give what
// the configuration grants, its keys may change, and no attack on them does better
// than one on the service's own.
func TestForeignIssuer(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	kid, key := "k1", k
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		jwk := jwkOf(&key.PublicKey)
		jwk["kid"] = kid
		_, _ = w.Write([]byte(text(object{"keys": []object{jwk}})))
	}))
	defer site.Close()
	roots := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var at atomic.Int64
	start := time.Now()
	now := func() time.Time { return start.Add(time.Duration(at.Load())) }
	m := &matrix{Lab: lab.New(t, lab.Options{Now: now, Config: func(c *assembly.Config) {
		c.Identity.Issuers = []assembly.ForeignIssuer{{Name: "corp", Issuer: "https://id.corp.example", Audience: "tapvault-corp", JWKSURL: site.URL + "/jwks", CAFile: roots,
			Grants: []assembly.ForeignGrant{
				{Claim: "groups", Value: "payments-ops", Role: access.Operator, Scopes: []access.Action{access.RangeRead, access.TokenRead}},
				{Claim: "team", Value: "audit", Role: access.Auditor, Scopes: access.ForRole(access.Auditor)}}}}
	}})}
	header := object{"alg": "ES256", "typ": "JWT", "kid": "k1"}
	claims := object{"iss": "https://id.corp.example", "aud": "tapvault-corp", "sub": "alice", "jti": "1", "groups": []string{"staff", "payments-ops"},
		"iat": start.Unix(), "exp": start.Add(30 * time.Minute).Unix()}
	sign := func(h, c string) string { return es256(k, h, c) }
	try := func(path, bearer string) answered {
		a, err := m.send(t.Context(), call{Sample: sampled{Method: "GET"}}, path, "", bearer)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	good := sign(text(header), text(claims))
	for path, want := range map[string]int{"/v1/ranges": 200, "/v1/tokens": 200, "/v1/keys": 403, "/v1/audit/records": 403} {
		if a := try(path, good); a.status != want {
			t.Errorf("alice at %s: %d, want %d: %s", path, a.status, want, a.text)
		}
	}
	if a := try("/v1/tokens", sign(text(header), text(claims.with(object{"scope": "openid ranges:read keys:read"})))); a.status != 403 {
		t.Errorf("a narrower token: %d", a.status)
	}
	if a := try("/v1/audit/records", sign(text(header), text(claims.with(object{"groups": nil, "team": "audit", "sub": "bob"})))); a.status != 200 {
		t.Errorf("bob: %d %s", a.status, a.text)
	}
	all := attacks(header, claims, start, &k.PublicKey, sign)
	for _, fine := range []string{"no jti", "audience among others"} { // which is how other issuers may write them
		delete(all, fine)
	}
	all["good for too long"] = sign(text(header), text(claims.with(object{"exp": start.Add(3 * time.Hour).Unix()})))
	all["no grant fits"] = sign(text(header), text(claims.with(object{"groups": []string{"staff"}})))
	all["a grant's value inside another"] = sign(text(header), text(claims.with(object{"groups": "payments-ops-x"})))
	all["the service's own issuer"] = sign(text(header), text(claims.with(object{"iss": m.Config.Identity.IssuerURL, "aud": m.Config.Identity.Audience})))
	all["bound to another certificate"] = sign(text(header), text(claims.with(object{"cnf": object{"x5t#S256": b64(strings.Repeat("x", 32))}})))
	all["bound to a key"] = sign(text(header), text(claims.with(object{"cnf": object{"jkt": "x"}})))
	all["no kid"] = sign(text(header.with(object{"kid": nil})), text(claims))
	alike(t, all, func(bearer string) answered { return try("/v1/ranges", bearer) })

	// Its keys change: the new one is believed, the old one is not any more.
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	kid, key = "k2", next
	mu.Unlock()
	at.Store(int64(time.Minute))
	if a := try("/v1/ranges", es256(next, text(header.with(object{"kid": "k2"})), text(claims))); a.status != 200 {
		t.Errorf("a token of the new key: %d %s", a.status, a.text)
	}
	if a := try("/v1/ranges", good); a.status != 401 {
		t.Errorf("a token of the key that was taken away: %d", a.status)
	}
	// The issuer goes away: its keys at hand go on.
	site.Close()
	at.Store(int64(20 * time.Minute))
	if a := try("/v1/ranges", es256(next, text(header.with(object{"kid": "k2"})), text(claims))); a.status != 200 {
		t.Errorf("while the issuer is away: %d %s", a.status, a.text)
	}
}
