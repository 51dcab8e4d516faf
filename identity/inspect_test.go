package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
)

// FuzzInspect: whatever passes is small, of an allowed algorithm, and each
// name in it stands once, so that any two readers read the same.
func FuzzInspect(f *testing.F) {
	b64 := base64.RawURLEncoding.EncodeToString
	f.Add(b64([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + b64([]byte(`{"iss":"a","x":[{"b":1}]}`)) + ".AA")
	f.Add(b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"iss":"a","iss":"b"}`)) + ".")
	f.Fuzz(func(t *testing.T, compact string) {
		h, err := inspect(compact, []string{es256}, []string{"", "jwt"})
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			return
		}
		parts := strings.Split(compact, ".")
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || h.Alg != es256 || len(compact) > maxCompact {
			t.Fatalf("%q passed", compact)
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(claims, &m); err != nil {
			t.Fatalf("%s passed: %v", claims, err)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	c, now := newCache(10), time.Unix(0, 0)
	for i := range 100 {
		c.put([32]byte{byte(i)}, entry{caller: access.Caller{ID: fmt.Sprint(i)}, expires: now.Add(time.Duration(i%7) * time.Second)}, now)
		if len(c.m) > 10 {
			t.Fatalf("%d entries", len(c.m))
		}
		if e, ok := c.get([32]byte{byte(i)}); !ok || e.caller.ID != fmt.Sprint(i) {
			t.Fatalf("entry %d is not there", i)
		}
	}
	// What has expired goes first.
	c = newCache(2)
	c.put([32]byte{1}, entry{expires: now}, now)
	c.put([32]byte{2}, entry{expires: now.Add(time.Hour)}, now)
	c.put([32]byte{3}, entry{expires: now.Add(time.Hour)}, now.Add(time.Second))
	if _, ok := c.get([32]byte{2}); !ok || len(c.m) != 2 {
		t.Error("a live entry went before an expired one")
	}
}

// FuzzParseKey: what is taken as a client key can be used with its algorithm.
func FuzzParseKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKey(b)
		if err == nil && (k.public == nil || k.alg == "" || len(k.ids) == 0) {
			t.Fatalf("%q gives %+v", b, k)
		}
	})
}

// FuzzParseKeySet: what another issuer publishes gives keys that each can be
// used, or none.
func FuzzParseKeySet(f *testing.F) {
	const ec = `{"kty":"EC","crv":"P-256","kid":"a","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`
	f.Add([]byte(`{"keys":[` + ec + `,{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[` + ec + `,` + ec + `]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := ParseKeySet(b)
		if (err == nil) != (len(set) > 0) {
			t.Fatalf("%q gives %d keys and %v", b, len(set), err)
		}
		for id, k := range set {
			if id == "" || k.Alg == "" || k.Public == nil {
				t.Fatalf("%q gives %q %+v", b, id, k)
			}
		}
	})
}

// FuzzParseEncKey: what is taken as a key to seal to is a point on P-256.
func FuzzParseEncKey(f *testing.F) {
	f.Add([]byte(`{"kty":"EC","crv":"P-256","use":"enc","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`))
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		pub, id, err := parseEncKey(b)
		if err != nil {
			if !errors.Is(err, ErrClient) {
				t.Fatal(err)
			}
			return
		}
		if _, err := pub.ECDH(); err != nil || id == "" {
			t.Fatalf("%q gives a key that cannot agree: %v", b, err)
		}
	})
}

func BenchmarkCheckCached(b *testing.B) {
	s := &Service{cfg: Config{Now: time.Now, Recheck: time.Hour}, cache: newCache(10)}
	bearer := strings.Repeat("x", 700)
	s.cache.put(sha256.Sum256([]byte(bearer)), entry{expires: time.Now().Add(time.Hour), checked: time.Now()}, time.Now())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Check(b.Context(), bearer); err != nil {
			b.Fatal(err)
		}
	}
}
