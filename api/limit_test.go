package api

import (
	"context"
	"testing"
	"time"

	"github.com/tapvault/tapvault/detokenize"
	"github.com/tapvault/tapvault/internal/fault"
)

// TestLimit: who asks too often is told when to come back, truly, and nothing is
// done for it; operations that need no caller are not counted.
func TestLimit(t *testing.T) {
	var wait time.Duration
	asked := 0
	e := newEdge(t, func(c *Config) {
		c.Limit = func(_ context.Context, client string) (time.Duration, error) {
			if asked++; client != "c" {
				t.Errorf("counted for %q", client)
			}
			return wait, nil
		}
	})
	s := find(t, "/v1/keys")
	if w := e.do(s, s.request()); w.Code != 200 || asked != 1 {
		t.Errorf("within the limit: %d", w.Code)
	}
	for d, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", 90 * time.Minute: "5400"} {
		wait = d
		e.problem(s, s.request(), 429, "too-fast")
		if got := e.do(s, s.request()).Header().Get("Retry-After"); got != want {
			t.Errorf("after %v: Retry-After %q, want %q", d, got, want)
		}
	}
	asked = 0
	for _, path := range []string{"/healthz", "/readyz", "/.well-known/jwks.json", "/oauth2/token"} {
		if s := find(t, path); e.do(s, s.request()).Code != 200 {
			t.Errorf("%s is limited", path)
		}
	}
	if asked != 0 {
		t.Errorf("strangers are counted %d times", asked)
	}
	wait = 0
	e.back.err = fault.After(detokenize.ErrFast, 42*time.Second)
	d := find(t, "/v1/detokenize")
	if got := e.do(d, d.request()).Header().Get("Retry-After"); got != "42" {
		t.Errorf("of a service: Retry-After %q", got)
	}
}
