//go:build linux && cgo

package shim_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// made is the shim of the module that the tests run on.
var made *shim.Shim

// shims are those of this process, by the name of the module; they stay mapped.
var shims = map[string]*shim.Shim{}

var folder string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if folder, err = os.MkdirTemp("", "shim-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	return hsmtest.Main(m)
}

// behind makes sure that made stands in front of the module, and is healthy.
func behind(t *testing.T) {
	t.Helper()
	name := hsmtest.On(t)
	if shims[name] == nil {
		module, err := hsmtest.Module()
		if err != nil {
			t.Fatal(err)
		}
		path, err := module.Path()
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(folder, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if shims[name], err = shim.Build(dir, path); err != nil {
			t.Fatal(err)
		}
	}
	made = shims[name]
	made.Heal()
	made.Forget()
	t.Cleanup(made.Heal)
}

func ref(u keyref.Usage) keyref.Ref {
	r := keyref.Ref{Usage: u, Version: 1}
	if u == keyref.PurchaseMaster || u == keyref.TACMaster {
		r.Realm = hsmtest.Realm
	}
	return r
}

// open returns a token behind a healthy shim, and the answers it gives then.
func open(t *testing.T, change func(*hsm.Config)) (*hsm.Token, map[string]string) {
	t.Helper()
	behind(t)
	tok := hsmtest.New(t, hsmtest.Options{Module: made.Module, Config: change})
	good := map[string]string{}
	for name, op := range operations {
		answer, err := op(t.Context(), tok)
		if err != nil {
			t.Fatalf("%s before any fault: %v", name, err)
		}
		good[name] = answer
	}
	return tok, good
}

// operations are one of each way through the front-end. Their answers do not
// change, so a wrong one shows.
var operations = map[string]func(context.Context, *hsm.Token) (string, error){
	"process MAC": func(ctx context.Context, tok *hsm.Token) (string, error) {
		p, _ := ref(keyref.PurchaseMaster).Path(keyref.Factor{1}, keyref.Factor{2})
		m, err := tok.ProcessMAC(ctx, p, [8]byte{3}, []byte("m"))
		return fmt.Sprintf("%x", m), err
	},
	"folded MAC": func(ctx context.Context, tok *hsm.Token) (string, error) {
		p, _ := ref(keyref.TACMaster).Path(keyref.Factor{1}, keyref.Factor{2})
		m, err := tok.FoldedMAC(ctx, p, []byte("m"))
		return fmt.Sprintf("%x", m), err
	},
	"HMAC": func(ctx context.Context, tok *hsm.Token) (string, error) {
		m, err := tok.HMAC(ctx, ref(keyref.PARKey), []byte("m"))
		return fmt.Sprintf("%x", m), err
	},
	"seal": func(ctx context.Context, tok *hsm.Token) (string, error) {
		sealed, err := tok.Seal(ctx, ref(keyref.PANSeal), []byte("text"), nil)
		if err != nil {
			return "", err
		}
		plain, err := tok.Unseal(ctx, ref(keyref.PANSeal), sealed, nil)
		return string(plain), err
	},
	"sign": func(ctx context.Context, tok *hsm.Token) (string, error) {
		_, err := tok.Sign(ctx, ref(keyref.CredSign), [32]byte{1})
		return "", err
	},
	"health": func(ctx context.Context, tok *hsm.Token) (string, error) { return "", tok.Health(ctx) },
}

// retriable fails the test unless err is nothing or what the edge answers with
// 503 and Retry-After; and never may an answer be wrong.
func retriable(t *testing.T, what, answer, good string, err error) {
	t.Helper()
	switch {
	case err == nil && answer != good:
		t.Errorf("%s: a wrong answer", what)
	case err != nil && fault.KindOf(err) != fault.HSMUnavailable:
		t.Errorf("%s: %v is of kind %s", what, err, fault.KindOf(err))
	case errors.Is(err, hsm.ErrPIN):
		t.Errorf("%s: %v, but the PIN is right", what, err)
	}
}

// recovers fails the test unless every operation works again within a few
// calls, and no session in which something failed was used again.
func recovers(t *testing.T, what string, tok *hsm.Token, good map[string]string) {
	t.Helper()
	for name, op := range operations {
		var err error
		var answer string
		for range 3 { // bounded in calls, not by a clock
			if answer, err = op(t.Context(), tok); err == nil {
				break
			}
		}
		if err != nil || answer != good[name] {
			t.Errorf("%s: %s does not work again: %v", what, name, err)
		}
	}
	if n := made.Reused(); n != 0 {
		t.Errorf("%s: %d calls in sessions in which something had failed", what, n)
	}
}

// codes are what a module may answer when something is wrong with it.
var codes = map[string]uint{"device error": 0x30, "function failed": 0x06, "general error": 0x05, "device memory": 0x31,
	"device removed": 0x32, "session closed": 0xB0, "session handle": 0xB3, "not logged in": 0x101, "key handle": 0x60,
	"object handle": 0x82, "token not present": 0xE0, "operation active": 0x90, "not initialised": 0x190, "cancelled": 0x50}

// TestEveryCallFails breaks each call, before and after it takes effect, once,
// thrice and for good.
func TestEveryCallFails(t *testing.T) {
	tok, good := open(t, func(c *hsm.Config) { c.MaxSessions = 2 })
	for call, name := range map[shim.Call]string{shim.OpenSession: "OpenSession", shim.GetSessionInfo: "GetSessionInfo",
		shim.CreateObject: "CreateObject", shim.DestroyObject: "DestroyObject", shim.GetAttribute: "GetAttributeValue", shim.EncryptInit: "EncryptInit",
		shim.Encrypt: "Encrypt", shim.DecryptInit: "DecryptInit", shim.Decrypt: "Decrypt", shim.SignInit: "SignInit", shim.Sign: "Sign",
		shim.DeriveKey: "DeriveKey", shim.GenerateRandom: "GenerateRandom", shim.CloseSession: "CloseSession",
		shim.FindInit: "FindObjectsInit", shim.Find: "FindObjects", shim.CopyObject: "CopyObject", shim.Login: "Login"} {
		for text, code := range codes {
			for _, done := range []bool{false, true} {
				for _, times := range []int{1, 3, 0} {
					what := fmt.Sprintf("%s, %s, done %t, %d times", name, text, done, times)
					made.Fail(call, shim.Fault{Code: code, Done: done, Times: times})
					for op, f := range operations {
						answer, err := f(t.Context(), tok)
						retriable(t, what+": "+op, answer, good[op], err)
					}
					made.Heal()
					recovers(t, what, tok, good)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
}

// TestTokenGoes pulls the token out and puts it back, drops sessions, and loses
// the login, under callers that go on.
func TestTokenGoes(t *testing.T) {
	tok, good := open(t, func(c *hsm.Config) { c.Workers, c.MaxSessions = 4, 8 })
	for what, breaks := range map[string]func(){"token removed": made.Remove, "sessions dropped": made.DropSessions, "login lost": made.LoseLogin} {
		for range 3 {
			breaks()
			var all sync.WaitGroup
			for range 16 {
				for op, f := range operations {
					all.Go(func() {
						answer, err := f(t.Context(), tok)
						retriable(t, what+": "+op, answer, good[op], err)
						if what == "token removed" && err == nil {
							t.Errorf("%s: %s worked", what, op)
						}
					})
				}
			}
			all.Wait()
			made.Heal()
			recovers(t, what, tok, good)
		}
	}
}

// TestAbruptly breaks things at random moments of a crowd.
func TestAbruptly(t *testing.T) {
	tok, good := open(t, func(c *hsm.Config) { c.Workers, c.MaxSessions, c.CachedKeys = 3, 4, 2 })
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for range 12 {
		for op, f := range operations {
			crowd.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						answer, err := f(t.Context(), tok)
						retriable(t, op, answer, good[op], err)
					}
				}
			})
		}
	}
	for i := range 24 {
		[]func(){made.DropSessions, made.LoseLogin, made.Remove, func() { made.Fail(shim.Encrypt, shim.Fault{Code: 0x30, Times: 5}) },
			func() { made.Fail(shim.DeriveKey, shim.Fault{Code: 0x06, Done: true, Times: 5}) },
			func() { made.DelayCall(shim.Sign, 20*time.Millisecond) }}[i%6]()
		time.Sleep(15 * time.Millisecond)
		made.Heal()
	}
	close(stop)
	crowd.Wait()
	recovers(t, "afterwards", tok, good)
	if n := made.Open(); n > 1+3+4 {
		t.Errorf("%d sessions are open, want at most an anchor, 3 workers' and 4 of the pool", n)
	}
}

// TestSlowModule: a caller that has no time left is let go while the module
// still computes, and its session comes back.
func TestSlowModule(t *testing.T) {
	tok, good := open(t, func(c *hsm.Config) { c.MaxSessions = 1 })
	made.Delay(30 * time.Millisecond)
	var all sync.WaitGroup
	for range 6 {
		for op, f := range operations {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				answer, err := f(ctx, tok)
				if !errors.Is(err, context.DeadlineExceeded) {
					retriable(t, op, answer, good[op], err)
				}
			})
		}
	}
	all.Wait()
	made.Heal()
	recovers(t, "afterwards", tok, good)
}
