package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/identity/jwks"
)

// site is an issuer's web server.
type site struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(http.ResponseWriter)
	asked  atomic.Int64
	now    atomic.Int64 // minutes
}

func newSite(t *testing.T) (*site, *jwks.Set) {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answer(w)
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	set, err := jwks.New(jwks.Config{URL: s.URL + "/keys", Roots: roots,
		Now: func() time.Time { return time.Unix(1_800_000_000+60*s.now.Load(), 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return s, set
}

func (s *site) says(f func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// keys answers a set of new keys of the given ids.
func keys(t *testing.T, ids ...string) func(http.ResponseWriter) {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, id := range ids {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &k.PublicKey, KeyID: id, Use: "sig", Algorithm: "ES256"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter) { _, _ = w.Write(b) }
}

func has(t *testing.T, set *jwks.Set, kid string, want bool) {
	t.Helper()
	if k, err := set.Key(t.Context(), kid); (err == nil) != want || want && k.Alg != "ES256" {
		t.Errorf("%s: %v, want %v", kid, err, want)
	}
}

// TestRotation: keys are fetched once, kept, and fetched anew for one that is not
// known, but not for each one.
func TestRotation(t *testing.T) {
	s, set := newSite(t)
	s.says(keys(t, "one"))
	for range 5 {
		has(t, set, "one", true)
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	s.says(keys(t, "two"))
	s.now.Add(1)
	has(t, set, "two", true)
	has(t, set, "one", false) // taken away
	for i := range 50 {
		has(t, set, fmt.Sprintf("stranger-%d", i), false)
	}
	has(t, set, "", false)
	if n := s.asked.Load(); n != 2 {
		t.Errorf("strangers made it fetch %d times", n)
	}
}

// TestOutage: keys at hand serve while the issuer is away, for a day.
func TestOutage(t *testing.T) {
	s, set := newSite(t)
	s.says(keys(t, "one"))
	has(t, set, "one", true)
	s.says(func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
	for _, minutes := range []int64{20, 600, 1439} {
		s.now.Store(minutes)
		has(t, set, "one", true)
	}
	s.now.Store(1440)
	has(t, set, "one", false)
	s.says(keys(t, "one"))
	s.now.Add(1)
	has(t, set, "one", true)
}

// TestHostileSites: what a site may answer to get more than it should.
func TestHostileSites(t *testing.T) {
	elsewhere, _ := newSite(t)
	elsewhere.says(keys(t, "one"))
	for name, answer := range map[string]func(http.ResponseWriter){
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusFound)
		},
		"too much": func(w http.ResponseWriter) {
			keys(t, "one")(w)
			_, _ = w.Write([]byte(strings.Repeat(" ", 64<<10)))
		},
		"no set":       func(w http.ResponseWriter) { _, _ = w.Write([]byte(`[]`)) },
		"nothing":      func(http.ResponseWriter) {},
		"two of an id": keys(t, "one", "one"),
		"a secret": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","kid":"one","k":"c2VjcmV0"}]}`))
		},
		"many keys": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"keys":[` + strings.Repeat(`{},`, 64) + `{}]}`))
		},
		"another status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNonAuthoritativeInfo); keys(t, "one")(w) },
	} {
		s, set := newSite(t)
		s.says(answer)
		if _, err := set.Key(t.Context(), "one"); err == nil {
			t.Errorf("%s: it is believed", name)
		}
	}
	if elsewhere.asked.Load() != 0 {
		t.Error("a redirect is followed")
	}
	s, _ := newSite(t)
	s.says(keys(t, "one"))
	set, err := jwks.New(jwks.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	has(t, set, "one", false) // a certificate of nobody's
	for _, url := range []string{"http://issuer.example/keys", "", "https://", "file:///etc/passwd", "https://user:pass@issuer.example/", "issuer.example"} {
		if _, err := jwks.New(jwks.Config{URL: url}); err == nil {
			t.Errorf("%q is taken", url)
		}
	}
}
