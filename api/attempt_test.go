package api

import (
	"bytes"
	"crypto/sha256"
	"net/http/httptest"
	"testing"
)

// TestAttemptDigestIsKeyed: digests of requests are kept in the database, and
// bodies hold card numbers, of which there are few enough to try them all.
// Without the service's key nobody tells whether a digest is that of a body.
func TestAttemptDigestIsKeyed(t *testing.T) {
	body := []byte(`{"pan":"` + cardDigits + `","pan_expiry":"2912","token_location":"03"}`)
	digest := func(secret byte) [32]byte {
		r := httptest.NewRequest("POST", "/v1/tokens", nil)
		r.Header.Set("Idempotency-Key", "once")
		q := request{body: body}
		if err := q.readAttempt(r, operation{attempt: required}, bytes.Repeat([]byte{secret}, 32)); err != nil {
			t.Fatal(err)
		}
		return q.attempt.Digest
	}
	first := digest(1)
	if again := digest(1); again != first {
		t.Error("the same request has two digests")
	}
	if first == digest(2) {
		t.Error("the digest does not hang on the key")
	}
	if first == sha256.Sum256(append([]byte("POST\n/v1/tokens\n"), body...)) {
		t.Error("the digest can be computed by anybody")
	}
}

func TestAttemptKeyIsNeeded(t *testing.T) {
	for n, good := range map[int]bool{0: false, 31: false, 32: true} {
		var cfg Config
		newEdge(t, func(c *Config) { cfg = *c })
		cfg.AttemptKey = make([]byte, n)
		if _, err := New(cfg); (err == nil) != good {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
	}
}
