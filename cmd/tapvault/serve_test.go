package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/assembly"
)

// TestLeavingIsSaid: who keeps one connection is asked to end it before the
// process does, so that no request is sent into one that closes.
func TestLeavingIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := devCertificates(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	cfg := assembly.Config{TLS: assembly.TLS{CertFile: "server.pem", KeyFile: "server.key"}, StopNotice: 2 * time.Second}.In(dir)
	cert, err := openCertificate(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := &assembly.Service{Handler: http.NotFoundHandler(), Drain: func() {}}
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(ctx, l, cert, s, cfg, log) }()

	conns := 0
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // which it is does not matter
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			conns++
			return new(net.Dialer).DialContext(ctx, network, at)
		}}}
	ask := func() bool { // POST: nobody sends it again
		r, err := c.Post("https://"+l.Addr().String()+"/", "", http.NoBody)
		if err != nil {
			t.Fatalf("a request was not answered: %v", err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		return r.Close
	}
	if ask() || ask() {
		t.Fatal("a process that stays ends connections")
	}
	stop()
	for !ask() {
	}
	if conns != 1 {
		t.Errorf("%d connections were made until then", conns)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
