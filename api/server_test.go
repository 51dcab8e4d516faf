package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serve runs the edge on the loopback and returns its address and a root that
// trusts it.
func serve(t *testing.T, e *edge) (string, *x509.CertPool) {
	t.Helper()
	return serveLogged(t, e, nil)
}

func serveLogged(t *testing.T, e *edge, log *slog.Logger) (string, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(e.handler, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, log)
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return l.Addr().String(), pool
}

// TestOldClient: one that offers HTTP/1.0 alone, by name, is served.
func TestOldClient(t *testing.T) {
	addr, roots := serve(t, newEdge(t))
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.0"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.0 200 OK\r\n") {
		t.Errorf("%q, %v", b, err)
	}
}

// TestServerQuotesNobody: whoever speaks HTTP/1.1 where HTTP/2 was agreed is told of, and not
// what it sent.
func TestServerQuotesNobody(t *testing.T) {
	said := make(chan string, 16)
	log := slog.New(slog.NewTextHandler(writes(said), &slog.HandlerOptions{Level: slog.LevelDebug}))
	addr, roots := serveLogged(t, newEdge(t), log)
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /marked HTTP/1.1\r\nHost: marked\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line := <-said; !strings.Contains(line, "preface") || strings.Contains(line, "marked") {
		t.Errorf("the log says %q", line)
	}
}

// writes hands on what is written.
type writes chan string

func (w writes) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestServer(t *testing.T) {
	addr, roots := serve(t, newEdge(t))
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 || resp.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%d over HTTP/%d, TLS %x", resp.StatusCode, resp.ProtoMajor, resp.TLS.Version)
	}
	if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is spoken")
	}
	for proto, transport := range map[string]*http.Transport{
		"HTTP/1.1": {TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}},
		"HTTP/2":   {TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
	} {
		r, err := http.NewRequest("GET", "https://"+addr+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Padding", strings.Repeat("x", 128<<10))
		resp, err := (&http.Client{Transport: transport}).Do(r)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s: 128 KiB of header answer %d", proto, resp.StatusCode)
			}
		}
		r.Header.Set("X-Padding", strings.Repeat("x", 20<<10))
		if resp, err = (&http.Client{Transport: transport}).Do(r); err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: 20 KiB of header answer %d, %s", proto, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		transport.CloseIdleConnections()
	}
}

// BenchmarkPurchaseVerify is the edge alone: no TLS, no HSM.
func BenchmarkPurchaseVerify(b *testing.B) {
	t := &testing.T{}
	e := newEdge(t)
	s := find(t, "/v1/cryptograms/purchase/verify")
	w := &discard{h: http.Header{}}
	r, body := s.request(), strings.NewReader("")
	r.Body = io.NopCloser(body)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(s.body)
		e.handler.ServeHTTP(w, r)
	}
}

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// TestAnswersAreDated: with the moment of the answer, as RFC 9110 writes it.
func TestAnswersAreDated(t *testing.T) {
	var d dates
	at := time.Date(2026, 3, 1, 7, 59, 59, 999_999_999, time.FixedZone("CST", 8*3600))
	for at, want := range map[time.Time]string{
		at:                         "Sat, 28 Feb 2026 23:59:59 GMT",
		at.Add(1):                  "Sun, 01 Mar 2026 00:00:00 GMT",
		at.Add(-time.Second):       "Sat, 28 Feb 2026 23:59:58 GMT",
		at.Add(-time.Second).UTC(): "Sat, 28 Feb 2026 23:59:58 GMT",
	} {
		for range 2 {
			if got := d.at(at); len(got) != 1 || got[0] != want {
				t.Errorf("the date of %v is %q, not %q", at, got, want)
			}
		}
	}
}

// TestIncompleteConfig: an API that lacks a service does not begin, and says which.
func TestIncompleteConfig(t *testing.T) {
	_, err := New(Config{})
	if err == nil {
		t.Fatal("an API without services began")
	}
	for _, name := range []string{"Accounts", "AttemptKey", "Gate", "WebhookKeys"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	if strings.Contains(err.Error(), "Metrics") {
		t.Errorf("%v names what may be missing", err)
	}
}
