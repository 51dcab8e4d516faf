//go:build linux && cgo

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// behindShim has a shop's service use a module that can be broken.
func (s *shop) behindShim() *shim.Shim {
	s.Helper()
	found, err := softtoken.Find("softhsm")
	if err != nil {
		s.Fatal(err)
	}
	module, err := found.Path()
	if err != nil {
		s.Fatal(err)
	}
	broken, err := shim.Build(s.TempDir(), module)
	if err != nil {
		s.Fatal(err)
	}
	config, err := os.ReadFile(s.path("tapvault.yaml"))
	if err != nil {
		s.Fatal(err)
	}
	config = bytes.Replace(config, []byte("module: "+module), []byte("module: "+broken.Module), 1)
	if err := os.WriteFile(s.path("tapvault.yaml"), config, 0o600); err != nil {
		s.Fatal(err)
	}
	return broken
}

// TestStopsThoughModuleHangs: a service that was told to stop ends, though a call that
// closes the HSM's module never returns, and says so.
func TestStopsThoughModuleHangs(t *testing.T) {
	s := newShop(t)
	module := s.behindShim()
	for name, call := range map[string]shim.Call{"finalising": shim.Finalize, "logging out": shim.Logout, "closing a session": shim.CloseSession} {
		module.Heal()
		var said bytes.Buffer
		c := s.command("serve")
		c.Stderr = &said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		s.ready()
		module.DelayCall(call, time.Hour)
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(drainTime+2*closeTime, func() { _ = c.Process.Kill() })
		err := c.Wait()
		if !late.Stop() {
			t.Fatalf("%s hangs, and the service with it", name)
		}
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != 1 || !strings.Contains(said.String(), "did not close within") {
			t.Errorf("%s hangs: %v\n%s", name, err, said.String())
		}
	}
}

// ready waits until the service is.
func (s *shop) ready() {
	s.Helper()
	stranger := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // nothing is told to it
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		r, err := stranger.Get("https://" + s.addr + "/readyz")
		if err != nil {
			continue
		}
		if r.Body.Close() == nil && r.StatusCode == http.StatusOK {
			return
		}
	}
	s.Fatal("the service is not ready")
}
