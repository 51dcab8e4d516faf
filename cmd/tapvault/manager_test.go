//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// managed is a service manager: it hears what processes tell it.
func managed(t *testing.T, socket string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// hears demands that the next message has a line.
func hears(t *testing.T, c *net.UnixConn, line string) {
	t.Helper()
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil || !strings.Contains("\n"+string(b[:n])+"\n", "\n"+line+"\n") {
		t.Fatalf("the manager heard %q, %v, and waits for %s", b[:n], err, line)
	}
}

// readyz asks the service once, over a connection that it does not keep.
func (s *shop) readyz() int {
	s.Helper()
	stranger := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // nothing is told to it
	r, err := stranger.Get("https://" + s.addr + "/readyz")
	if err != nil {
		s.Fatal(err)
	}
	_ = r.Body.Close()
	return r.StatusCode
}

// TestManagerIsTold: a service manager hears that the service is ready when it is, and no
// earlier, and that it leaves while it still serves; at a path and at an abstract name.
func TestManagerIsTold(t *testing.T) {
	s := newShop(t)
	config, err := os.ReadFile(s.path("tapvault.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("tapvault.yaml"), append(config, "stop_notice: 8s\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "m") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, socket := range []string{filepath.Join(dir, "notify"), fmt.Sprintf("@tapvault-test-%d", os.Getpid())} {
		m := managed(t, socket)
		c := s.command("serve")
		c.Env = append(os.Environ(), managerEnv+"="+socket)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		hears(t, m, "READY=1")
		if code := s.readyz(); code != http.StatusOK {
			t.Errorf("it said READY=1, and /readyz says %d", code)
		}
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		hears(t, m, "STOPPING=1")
		for s.readyz() == http.StatusOK { // as the last look was; it still answers
		}
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestFailedStartTellsNothing: a service that cannot start never said that it was ready.
func TestFailedStartTellsNothing(t *testing.T) {
	s := newShop(t)
	socket := fmt.Sprintf("@tapvault-test-failed-%d", os.Getpid())
	m := managed(t, socket)
	if err := os.WriteFile(s.path("secrets/hsm-user.pin"), []byte("999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.command("serve")
	c.Env = append(os.Environ(), managerEnv+"="+socket)
	if out, err := c.CombinedOutput(); err == nil {
		t.Fatalf("it served with a wrong PIN\n%s", out)
	}
	if err := m.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	if n, err := m.Read(b); err == nil {
		t.Errorf("the manager heard %q", b[:n])
	}
}

// TestManagerIsOurs: what the process starts does not find the manager, and one that is
// not there is logged.
func TestManagerIsOurs(t *testing.T) {
	t.Setenv(managerEnv, filepath.Join(t.TempDir(), "none"))
	var logged bytes.Buffer
	m := findManager(slog.New(slog.NewTextHandler(&logged, nil)))
	if at, ok := os.LookupEnv(managerEnv); ok {
		t.Errorf("children are told of %s", at)
	}
	if m.tell(toldReady); !strings.Contains(logged.String(), "service manager") {
		t.Errorf("logged: %q", logged.String())
	}
}
