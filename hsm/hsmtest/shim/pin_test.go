//go:build linux && cgo

package shim_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/internal/fault"
)

// pinFile is a file with a PIN that changes.
type pinFile struct {
	t    *testing.T
	path string
}

func newPINFile(t *testing.T) pinFile {
	f := pinFile{t, filepath.Join(t.TempDir(), "pin")}
	f.write(hsmtest.PIN)
	return f
}

// write replaces the file as a whole, as an operator has to.
func (f pinFile) write(pin string) {
	f.t.Helper()
	if err := os.WriteFile(f.path+".new", []byte(pin+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		f.t.Fatal(err)
	}
}

// TestPINFileChanges: every PIN that the file holds is tried once, by however many
// callers, and a right one is found without a restart.
func TestPINFileChanges(t *testing.T) {
	file := newPINFile(t)
	var no, yes atomic.Int64
	tok, good := open(t, func(c *hsm.Config) {
		c.PIN = hsm.PINFile(file.path)
		c.OnPIN = func(err error) {
			if err != nil {
				no.Add(1)
			} else {
				yes.Add(1)
			}
		}
	})
	logins := made.Calls(shim.Login)
	made.LoseLogin()
	for _, step := range []struct {
		pin, says string
		tries     int // of all steps so far
	}{
		{"654321", "wrong PIN", 1}, {"7654321", "wrong PIN", 2}, {"654321", "wrong PIN", 2}, {"", "reading the PIN file: it is empty", 2}, {"7654321", "wrong PIN", 2},
	} {
		file.write(step.pin)
		var callers sync.WaitGroup
		for range 4 {
			for name, op := range operations {
				callers.Go(func() {
					answer, err := op(t.Context(), tok)
					if err == nil && answer == good[name] && name != "health" && hsmtest.On(t) == "nss" {
						return // there a session's copies of keys outlive the login
					}
					if !errors.Is(err, hsm.ErrPIN) || fault.KindOf(err) != fault.HSMUnavailable || !strings.Contains(err.Error(), step.says) {
						t.Errorf("PIN %q: %s: %v", step.pin, name, err)
					}
				})
			}
		}
		callers.Wait()
		if n := made.Calls(shim.Login) - logins; n != step.tries {
			t.Errorf("after PIN %q: %d tries, want %d", step.pin, n, step.tries)
		}
	}
	file.write(hsmtest.PIN)
	recovers(t, "the right PIN", tok, good)
	if n := made.Calls(shim.Login) - logins; n != 3 {
		t.Errorf("%d tries in all, want 3", n)
	}
	if no.Load() != 2 || yes.Load() != 0 {
		t.Errorf("told %d times of a refused PIN and %d times of a new one, want 2 and 0: it is the one of before", no.Load(), yes.Load())
	}
}

// TestPINOfAnotherOpening: whoever opens a token again does not try a PIN again that
// it refused. Another one is tried, and what was refused before an accepted one may
// have become right.
func TestPINOfAnotherOpening(t *testing.T) {
	behind(t)
	cfg := hsmtest.EmptyOn(t, made.Module)
	file := newPINFile(t)
	cfg.PIN = hsm.PINFile(file.path)
	logins := made.Calls(shim.Login)
	for i, step := range []struct {
		pin   string
		tries int
	}{{"654321", 1}, {"654321", 1}, {"765432", 2}, {"654321", 2}, {hsmtest.PIN, 3}, {"654321", 4}, {"654321", 4}, {hsmtest.PIN, 5}} {
		file.write(step.pin)
		tok, err := hsm.Open(t.Context(), cfg)
		if step.pin == hsmtest.PIN {
			err = errors.Join(err, tok.Close())
		} else if errors.Is(err, hsm.ErrPIN) {
			err = nil
		}
		if err != nil {
			t.Errorf("step %d: %v", i, err)
		}
		if n := made.Calls(shim.Login) - logins; n != step.tries {
			t.Errorf("step %d: %d tries, want %d", i, n, step.tries)
		}
	}
}

// TestPINWhileRecycling: the file changes after it was looked at and before the
// login. It is tried once; the module is left alone while the file is as it is, and
// all goes on once it is corrected.
func TestPINWhileRecycling(t *testing.T) {
	behind(t)
	file := newPINFile(t)
	var armed atomic.Bool
	var refused atomic.Int64
	tok := hsmtest.New(t, recycling(func(c *hsm.Config) {
		elements(100)(c)
		c.PIN = hsm.PINFile(file.path)
		c.Prepare = func() error { // just before the module is initialised
			if armed.CompareAndSwap(true, false) {
				file.write("654321")
			}
			return nil
		}
		c.OnPIN = func(err error) {
			if err != nil {
				refused.Add(1)
			}
		}
	}))
	good := map[string]string{}
	work := func() (err error) {
		for name, op := range operations {
			answer, oerr := op(t.Context(), tok)
			if err = oerr; err != nil {
				return err
			}
			if good[name] == "" {
				good[name] = answer
			}
		}
		return nil
	}
	if err := work(); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	until(t, "the PIN is refused", func() bool {
		if err := work(); err != nil && !errors.Is(err, hsm.ErrPIN) {
			t.Error(err)
		}
		return refused.Load() > 0
	})
	until(t, "nothing is under way", func() bool { return !tok.Recycled().Asked })
	logins := made.Calls(shim.Login)
	for range 10 {
		if err := work(); !errors.Is(err, hsm.ErrPIN) {
			t.Errorf("with a wrong PIN: %v", err)
		}
	}
	if r := tok.Recycled(); r.Failed != 1 || made.Calls(shim.Login) != logins || refused.Load() != 1 {
		t.Errorf("%+v, %d more tries, told %d times", r, made.Calls(shim.Login)-logins, refused.Load())
	}
	file.write(hsmtest.PIN)
	recovers(t, "the right PIN", tok, good)
	n := times(tok)
	until(t, "it is recycled again", func() bool {
		if err := work(); err != nil {
			t.Error(err)
		}
		return times(tok) > n
	})
	until(t, "nothing is under way", func() bool { return !tok.Recycled().Asked })
	made.Heal()
	recovers(t, "at last", tok, good)
}
