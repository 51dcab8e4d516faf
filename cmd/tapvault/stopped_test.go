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
// opens or closes the HSM's module never returns, and says so.
func TestStopsThoughModuleHangs(t *testing.T) {
	s := newShop(t)
	module := s.behindShim()
	for name, call := range map[string]shim.Call{"initialising": shim.Initialize, "finalising": shim.Finalize, "logging out": shim.Logout,
		"closing a session": shim.CloseSession} {
		module.Heal()
		opening := call == shim.Initialize
		if opening {
			module.Hang(call)
		}
		var said bytes.Buffer
		c, calls := s.command("serve"), module.Calls(call)
		c.Stderr = &said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if !opening {
			s.ready()
			module.Hang(call)
		}
		for opening && module.Calls(call) == calls {
			time.Sleep(time.Millisecond)
		}
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(drainTime+2*closeTime, func() { _ = c.Process.Kill() })
		err := c.Wait()
		if !late.Stop() {
			t.Fatalf("%s hangs, and the service with it", name)
		}
		if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != 1 || !strings.Contains(said.String(), "did not end within") {
			t.Errorf("%s hangs: %v\n%s", name, err, said.String())
		}
	}
}

// TestSecondSignal: a command that waits for the HSM's module is ended by a second
// signal.
func TestSecondSignal(t *testing.T) {
	s := newShop(t)
	module := s.behindShim()
	module.Hang(shim.Login)
	c := s.command("doctor")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for module.Calls(shim.Login) == 0 {
		time.Sleep(time.Millisecond)
	}
	late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		_ = c.Process.Signal(os.Interrupt) // it may have ended meanwhile
		select {
		case err := <-ended:
			if !late.Stop() {
				t.Errorf("it was not ended: %v", err)
			}
			return
		case <-time.After(100 * time.Millisecond):
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
