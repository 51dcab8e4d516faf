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
	p := leave(t, 2*time.Second)
	c := p.caller()
	for range 2 {
		if c.ask() {
			t.Fatal("a process that stays ends connections")
		}
	}
	p.stop()
	for !c.ask() {
	}
	if c.conns != 1 {
		t.Errorf("%d connections were made until then", c.conns)
	}
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}

// TestLeavingWaitsForWhoRests: a caller who rests while goodbye is said to others is
// told with his next answer, and the process has ended once both are gone.
func TestLeavingWaitsForWhoRests(t *testing.T) {
	p := leave(t, 4*time.Second)
	busy, resting := p.caller(), p.caller()
	if busy.ask() || resting.ask() {
		t.Fatal("a process that stays ends connections")
	}
	p.stop()
	for !busy.ask() {
	}
	time.Sleep(4 * lookTime)
	if !resting.ask() || resting.conns != 1 {
		t.Errorf("who rested had %d connections", resting.conns)
	}
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}

// leaver is a process that serves until it is stopped.
type leaver struct {
	t     *testing.T
	at    string
	stop  context.CancelFunc
	ended chan error
}

func leave(t *testing.T, notice time.Duration) *leaver {
	t.Helper()
	dir := t.TempDir()
	if err := devCertificates(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	cfg := assembly.Config{TLS: assembly.TLS{CertFile: "server.pem", KeyFile: "server.key"}, StopNotice: notice}.In(dir)
	cert, err := openCertificate(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	p := &leaver{t: t, at: "https://" + l.Addr().String() + "/", stop: stop, ended: make(chan error, 1)}
	s := &assembly.Service{Handler: http.NotFoundHandler(), Drain: func() {}}
	go func() { p.ended <- serveUntil(ctx, l, cert, s, cfg, manager{}, log) }()
	return p
}

// patron is a caller who keeps his connection.
type patron struct {
	p     *leaver
	http  http.Client
	conns int
}

func (p *leaver) caller() *patron {
	c := &patron{p: p}
	c.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // which it is does not matter
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			c.conns++
			return new(net.Dialer).DialContext(ctx, network, at)
		}}
	return c
}

// ask sends a POST, which nobody sends again, and tells whether the answer says that
// the connection ends.
func (c *patron) ask() (last bool) {
	c.p.t.Helper()
	r, err := c.http.Post(c.p.at, "", http.NoBody)
	if err != nil {
		c.p.t.Fatalf("a request was not answered: %v", err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return r.Close
}
