package client_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// service is a server with the real login, whose other paths are answer.
type service struct {
	*httptest.Server
	t      *testing.T
	now    time.Time
	db     *clientdb.Store
	answer http.HandlerFunc

	mu     sync.Mutex
	logins int
	seen   []*http.Request
	bodies []string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, now: time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return s.now }
	s.db = clientdb.New(storetest.At(t, clock), clock)
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(identity.Config{Registry: s.db, Issuer: s.URL, Audience: s.URL, Now: clock, Keys: []identity.Key{{
		Public: &signer.PublicKey,
		Sign: func(_ context.Context, d [32]byte) (sig [64]byte, err error) {
			r, v, err := ecdsa.Sign(rand.Reader, signer, d[:])
			if err == nil {
				r.FillBytes(sig[:32])
				v.FillBytes(sig[32:])
			}
			return sig, err
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.answer = s.serve(id)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.answer(w, r) }

// serve logs callers in for real and echoes what was asked.
func (s *service) serve(id *identity.Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.URL.Path == "/oauth2/token" {
			s.logins++
			g, err := id.Exchange(r.Context(), r.FormValue("client_assertion"), identity.ParseScope(r.FormValue("scope"))...)
			if err != nil || r.FormValue("grant_type") != "client_credentials" || r.FormValue("client_assertion_type") != identity.AssertionType {
				refuse(w, 401, "unauthenticated")
				return
			}
			_ = json.NewEncoder(w).Encode(wire.AccessToken{AccessToken: g.Token, TokenType: "Bearer", ExpiresIn: int(g.ExpiresIn.Seconds())})
			return
		}
		if _, err := id.Check(r.Context(), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")); err != nil {
			refuse(w, 401, "unauthenticated")
			return
		}
		b, _ := io.ReadAll(r.Body)
		s.seen, s.bodies = append(s.seen, r), append(s.bodies, string(b))
		if strings.HasSuffix(r.URL.Path, "/refused") {
			refuse(w, 403, "refused")
			return
		}
		_, _ = io.WriteString(w, `{"token_reference_id":"r1","state":"ACTIVE","mac1":"D45737C5","mac2":"66B54A6B","verified":true,"results":[{"tap_id":"t1","outcome":"POSTED"}],"a_later_member":1}`)
	}
}

func refuse(w http.ResponseWriter, status int, kind string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Type: "urn:tapvault:problem:" + kind, Title: "No", Status: status, Detail: "because"})
}

func (s *service) client(id string, k crypto.Signer, change ...func(*client.Config)) *client.Client {
	s.t.Helper()
	jwk, err := json.Marshal(jose.JSONWebKey{Key: k.Public()})
	if err != nil {
		s.t.Fatal(err)
	}
	err = s.db.Add(s.t.Context(), identity.Client{ID: id, Role: access.Issuer, Scopes: access.ForRole(access.Issuer), JWK: jwk})
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := client.Config{BaseURL: s.URL + "/", ClientID: id, Key: k, HTTP: s.Client(), Now: func() time.Time { return s.now }}
	for _, f := range change {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEveryKeyLogsIn(t *testing.T) {
	s := newService(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for id, k := range map[string]crypto.Signer{"ec": p256(t), "ed": ed, "rsa": rs} {
		if _, err := s.client(id, k).Token(t.Context(), "r1"); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestTokenIsRenewed: one login serves until four fifths of the token's life,
// and a token that is refused earlier is replaced once.
// TestLoginIsRepeated: a connection that ends without an answer, as one does that was
// kept open while the service started anew, costs no login.
func TestLoginIsRepeated(t *testing.T) {
	s := newService(t)
	answer := s.answer
	for cut, want := range map[int32]bool{1: true, 2: false} {
		var left atomic.Int32
		left.Store(cut)
		s.answer = func(w http.ResponseWriter, r *http.Request) {
			if left.Add(-1) >= 0 {
				panic(http.ErrAbortHandler)
			}
			answer(w, r)
		}
		if _, err := s.client(fmt.Sprint("cut", cut), p256(t)).AccessToken(t.Context()); (err == nil) != want {
			t.Errorf("%d connections were cut: %v", cut, err)
		}
	}
}

func TestTokenIsRenewed(t *testing.T) {
	s := newService(t)
	c := s.client("a", p256(t))
	ask := func(logins int) {
		t.Helper()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := c.Token(t.Context(), "r1"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if s.logins != logins {
			t.Errorf("%d logins, want %d", s.logins, logins)
		}
	}
	ask(1)
	s.now = s.now.Add(8*time.Minute - time.Second)
	ask(1)
	s.now = s.now.Add(time.Second)
	ask(2)
	if err := s.db.SetDisabled(t.Context(), "a", true); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(time.Minute)
	if _, err := c.Token(t.Context(), "r1"); !client.IsProblem(err, "unauthenticated") {
		t.Errorf("a disabled client: %v", err)
	}
	if err := s.db.SetDisabled(t.Context(), "a", false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Token(t.Context(), "r1"); err != nil {
		t.Errorf("enabled again: %v", err)
	}
}

func TestCalls(t *testing.T) {
	s := newService(t)
	c := s.client("a", p256(t))
	ctx := client.WithAttempt(t.Context(), "k1")
	for want, call := range map[string]func() error{
		"POST /v1/tokens k1": func() error {
			_, err := c.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits("6212345678901232")})
			return err
		},
		"GET /v1/tokens/r1 ":                      func() error { _, err := c.Token(ctx, "r1"); return err },
		"GET /v1/tokens/a%2Fb ":                   func() error { _, err := c.Token(ctx, "a/b"); return err },
		"POST /v1/tokens/r1/suspend k1":           func() error { _, err := c.Suspend(ctx, "r1", "lost"); return err },
		"POST /v1/tokens/r1/resume k1":            func() error { _, err := c.Resume(ctx, "r1", ""); return err },
		"POST /v1/tokens/r1/delete k1":            func() error { _, err := c.Delete(ctx, "r1", ""); return err },
		"POST /v1/tokens/r1/bundles k1":           func() error { _, err := c.Bundle(ctx, "r1", wire.PublicKey{}); return err },
		"POST /v1/tokens/r1/ack k1":               func() error { _, err := c.Ack(ctx, "r1", wire.Ack{}); return err },
		"POST /v1/detokenize k1":                  func() error { _, err := c.Detokenize(ctx, wire.DetokenizeRequest{}); return err },
		"POST /v1/terminals/g/taps k1":            func() error { _, err := c.UploadTaps(ctx, "g", []wire.Tap{{}}); return err },
		"GET /v1/terminals/parameters ":           func() error { _, err := c.Parameters(ctx); return err },
		"POST /v1/cryptograms/purchase/mac1 k1":   func() error { m, err := c.PurchaseMAC1(ctx, wire.Purchase{}); return equal(m, "D45737C5", err) },
		"POST /v1/cryptograms/purchase/verify k1": func() error { return c.VerifyPurchase(ctx, wire.PurchaseVerify{}) },
		"POST /v1/cryptograms/tac/verify k1":      func() error { return c.VerifyTAC(ctx, wire.TACVerify{}) },
		"POST /v1/cryptograms/load k1":            func() error { m, err := c.Load(ctx, wire.Load{}); return equal(m, "66B54A6B", err) },
		"POST /v1/cryptograms/unload k1":          func() error { m, err := c.Unload(ctx, wire.Unload{}); return equal(m, "66B54A6B", err) },
		"POST /v1/cryptograms/unload/verify k1":   func() error { return c.VerifyUnload(ctx, wire.UnloadVerify{}) },
		"POST /v1/cryptograms/overdraft k1":       func() error { m, err := c.Overdraft(ctx, wire.Overdraft{}); return equal(m, "66B54A6B", err) },
		"POST /v1/accounts/a/loads k1":            func() error { _, err := c.LoadCard(ctx, "a", wire.CardLoadOrder{}); return err },
		"POST /v1/accounts/a/unloads k1":          func() error { _, err := c.UnloadCard(ctx, "a", wire.CardUnloadOrder{}); return err },
		"POST /v1/accounts/a/overdrafts k1":       func() error { _, err := c.LimitCard(ctx, "a", wire.CardLimitOrder{}); return err },
		"GET /v1/accounts/a/loads ":               func() error { _, err := c.CardLoads(ctx, "a", "", "", 0); return err },
		"GET /v1/loads/l ":                        func() error { _, err := c.CardLoad(ctx, "l"); return err },
		"POST /v1/loads/l/confirm k1":             func() error { _, err := c.ConfirmLoad(ctx, "l", wire.CardProof{}); return err },
		"POST /v1/loads/l/reverse k1":             func() error { _, err := c.ReverseLoad(ctx, "l", wire.CardShown{}); return err },
		"GET /v1/loads ":                          func() error { _, err := c.LoadMatters(ctx, nil); return err },
		"POST /v1/loads/decisions k1":             func() error { _, err := c.DecideLoad(ctx, wire.LoadDecision{}); return err },
		"GET /v1/audit/checkpoint ":               func() error { _, err := c.AuditCheckpoint(ctx); return err },
		"GET /v1/audit/inclusion ":                func() error { _, err := c.AuditInclusion(ctx, 1, 2); return err },
		"GET /v1/audit/consistency ":              func() error { _, err := c.AuditConsistency(ctx, 1, 2); return err },
		"GET /v1/audit/records ":                  func() error { _, err := c.AuditRecords(ctx, ""); return err },
		"POST /v1/approvals k1":                   func() error { _, err := c.RequestApproval(ctx, wire.ApprovalRequest{}); return err },
		"GET /v1/approvals ":                      func() error { _, err := c.Approvals(ctx, ""); return err },
		"GET /v1/approvals/a ":                    func() error { _, err := c.Approval(ctx, "a"); return err },
		"POST /v1/approvals/a/approve k1":         func() error { _, err := c.Approve(ctx, "a", wire.Hex32{}); return err },
		"POST /v1/approvals/a/cancel k1":          func() error { _, err := c.CancelApproval(ctx, "a"); return err },
		"GET /v1/keys ":                           func() error { _, err := c.Keys(ctx); return err },
	} {
		s.seen = nil
		if err := call(); err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		r := s.seen[0]
		if got := r.Method + " " + r.URL.EscapedPath() + " " + r.Header.Get("Idempotency-Key"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func equal(m wire.Hex4, want string, err error) error {
	if text, _ := m.MarshalText(); err == nil && string(text) != want {
		return fmt.Errorf("got %s", text)
	}
	return err
}

func TestAttemptsAreFresh(t *testing.T) {
	s := newService(t)
	c := s.client("a", p256(t))
	for range 2 {
		if _, err := c.Suspend(t.Context(), "r1", ""); err != nil {
			t.Fatal(err)
		}
	}
	one, two := s.seen[0].Header.Get("Idempotency-Key"), s.seen[1].Header.Get("Idempotency-Key")
	if one == two || len(one) != 32 {
		t.Errorf("%q, %q", one, two)
	}
}

func TestProblems(t *testing.T) {
	s := newService(t)
	c := s.client("a", p256(t))
	_, err := c.UploadTaps(t.Context(), "g", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Token(t.Context(), "x/../refused")
	if err == nil {
		_, err = c.Token(t.Context(), "refused")
	}
	var p *client.Error
	if !errors.As(err, &p) || p.Status != 403 || p.Detail != "because" || !client.IsProblem(err, "refused") || client.IsProblem(err, "denied") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "urn:tapvault:problem:refused") {
		t.Errorf("got %v", err)
	}
	s.answer = func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>bad gateway", http.StatusBadGateway)
	}
	if _, err = c.Keys(t.Context()); !errors.As(err, &p) || p.Status != 502 {
		t.Errorf("an answer that is no problem: %v", err)
	}
	s.answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }
	if _, err = c.Keys(t.Context()); err == nil {
		t.Error("an answer that is no JSON is taken")
	}
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
	}
	plain := s.client("b", p256(t), func(c *client.Config) {
		h := client.NewHTTP(nil)
		h.Transport = s.Client().Transport
		c.HTTP = h
	})
	if _, err = plain.Keys(t.Context()); !errors.As(err, &p) || p.Status != 307 {
		t.Errorf("a redirect: %v", err)
	}
}

func TestReady(t *testing.T) {
	s := newService(t)
	c := s.client("a", p256(t))
	s.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		_, _ = io.WriteString(w, `{"status":"down","parts":{"hsm":"down","store":"ok"}}`)
	}
	if h, err := c.Ready(t.Context()); err != nil || h.Status != "down" || h.Parts["hsm"] != "down" {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestFiles(t *testing.T) {
	s := newService(t)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	k := p256(t)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	read, err := client.ReadKey(write("key.pem", "PRIVATE KEY", der))
	if err != nil || !k.Equal(read) {
		t.Fatalf("reading a key: %v", err)
	}
	roots := write("roots.pem", "CERTIFICATE", s.Certificate().Raw)
	c := s.client("a", k, func(c *client.Config) { c.HTTP, c.CAFile = nil, roots })
	if _, err := c.Token(t.Context(), "r1"); err != nil {
		t.Errorf("with its root: %v", err)
	}
	c = s.client("b", p256(t), func(c *client.Config) { c.HTTP = nil })
	if _, err := c.Token(t.Context(), "r1"); err == nil {
		t.Error("a server that nobody vouches for is trusted")
	}
	for name, path := range map[string]string{"no file": filepath.Join(dir, "none"), "no PEM": write("junk.pem", "JUNK", nil), "a certificate": roots} {
		if _, err := client.ReadKey(path); err == nil {
			t.Errorf("%s is taken for a key", name)
		}
	}
	for _, cfg := range []client.Config{{}, {BaseURL: s.URL, ClientID: "a", Key: k, CAFile: filepath.Join(dir, "none")}, {BaseURL: s.URL, ClientID: "a", Key: k, CAFile: filepath.Join(dir, "key.pem")}} {
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

// TestLoginOfAnother: who waits for another caller's login waits no longer than its own
// context lets it.
func TestLoginOfAnother(t *testing.T) {
	s := newService(t)
	answer, asked, left := s.answer, make(chan struct{}), make(chan struct{})
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-left
		answer(w, r)
	}
	c := s.client("a", p256(t), func(c *client.Config) {
		h := *s.Client()
		h.Timeout = 10 * time.Second
		c.HTTP = &h
	})
	first := make(chan error, 1)
	go func() {
		_, err := c.AccessToken(t.Context())
		first <- err
	}()
	<-asked
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.AccessToken(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the other one: %v", err)
	}
	close(left)
	if err := <-first; err != nil {
		t.Errorf("the first one, which the other one waited for: %v", err)
	}
}

// TestStreamOfAStranger: a stream is not tried for ever by a client that may no longer
// log in.
func TestStreamOfAStranger(t *testing.T) {
	s := newService(t)
	c := s.client("a", p256(t))
	if err := s.db.SetDisabled(t.Context(), "a", true); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	answer, tries := s.answer, 0
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries == 2 {
			stop()
		}
		answer(w, r)
	}
	err := c.Stream(ctx, "", func(wire.Event, string) error { return nil })
	if !client.IsProblem(err, "unauthenticated") || tries != 1 {
		t.Errorf("%d logins: %v", tries, err)
	}
}
