package webhook_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/webhook"
)

// TestDeadConnection: an HTTP/2 connection over which nothing comes back any
// more, as when a balancer forgot it, is left for a new one.
func TestDeadConnection(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		if q.ProtoMajor != 2 {
			t.Errorf("asked by %s", q.Proto)
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	b := balance(t, srv.Listener.Addr().String())
	h := webhook.NewHTTP(true)
	h.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	post := func() error {
		resp, err := h.Post("https://"+b.Addr().String()+"/", "application/json", nil)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	if err := post(); err != nil {
		t.Fatal(err)
	}
	b.forgot.Store(true)
	// The old connection is left within two tries; if not, all of them go to it.
	var err error
	for range 6 {
		if err = post(); err == nil {
			return
		}
	}
	t.Errorf("after six tries: %v", err)
}

// balancer carries connections to a server. It can forget the first of them:
// what the server says over it goes nowhere, and nobody is told.
type balancer struct {
	net.Listener
	forgot atomic.Bool
}

func balance(t *testing.T, to string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{Listener: l}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			t.Cleanup(func() { _, _ = c.Close(), up.Close() })
			go b.carry(c, up, first)
			go func() { _, _ = io.Copy(up, c) }()
		}
	})
	t.Cleanup(func() { _ = l.Close(); carrying.Wait() })
	return b
}

// carry brings back what a server says.
func (b *balancer) carry(c io.WriteCloser, up io.Reader, first bool) {
	defer c.Close()
	buf := make([]byte, 4096)
	for {
		n, err := up.Read(buf)
		if err != nil {
			return
		}
		if first && b.forgot.Load() {
			continue
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}
