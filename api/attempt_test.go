package api

import (
	"bytes"
	"crypto/sha256"
	"net/http/httptest"
	"strings"
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

// TestKeyWithACard: a caller who makes a card number its key does not have it
// kept, and the key goes on to work.
func TestKeyWithACard(t *testing.T) {
	const card = "6222021234567894"
	secret := bytes.Repeat([]byte{1}, 32)
	for key, plain := range map[string]bool{
		card: false, "6222-0212-3456-7894": false, "6222.0212.3456.7894": false, "pay:" + card: false, card + "/1": false, card + "x9": false,
		"00" + card: false, card + "-2026": false, "4222222222222": false, "order-6222021234567894-a": false,
		"6222021234567890": false, "suspend-6299659839473490": false, // a token may have no check digit
		"310955000000000012a": false, "310955000000": true, "6222-0212-3456-7890": true,
		"9b2d8a54-6c3f-4a7e-8e21-f0a1b2c3d4e5": true, "once": true, "1": true, "2026-11-28": true, "": true,
	} {
		got := kept(key, secret)
		if (got == key) != plain || got != kept(key, secret) || !plain && (strings.Contains(got, card) || len(got) != 44) {
			t.Errorf("%q is kept as %q", key, got)
		}
		if !plain && got == kept(key, bytes.Repeat([]byte{2}, 32)) {
			t.Errorf("%q: what is kept can be found by trying", key)
		}
	}
	if kept(card, secret) == kept(card+"/1", secret) {
		t.Error("two keys are kept as one")
	}
}

// TestKeyRepeatsBody: a key that holds a number of the body, as long as a card number, is
// refused, and the refusal repeats neither. Shorter numbers, and those of no body, are taken.
func TestKeyRepeatsBody(t *testing.T) {
	body := []byte(`{"pan": "6222021234567894", "amount": 200, "term_id": "310955000000"}`)
	for key, taken := range map[string]bool{
		"6222021234567894": false, "pay:6222021234567894": false, "6222-0212-3456-7894": false, "62220212345678/94": false,
		"310955000000": false, "202123456789": false, // part of a number
		"6222021234567895": true, "31095500000": true, "200": true, "once": true,
	} {
		r := httptest.NewRequest("POST", "/v1/tokens", nil)
		r.Header.Set("Idempotency-Key", key)
		q := request{body: body}
		err := q.readAttempt(r, operation{attempt: required}, bytes.Repeat([]byte{1}, 32))
		if (err == nil) != taken {
			t.Errorf("%q: %v", key, err)
		}
		if err != nil && (strings.Contains(err.Error(), "6222") || !strings.Contains(err.Error(), "Idempotency-Key")) {
			t.Errorf("%q is told %v", key, err)
		}
	}
}
