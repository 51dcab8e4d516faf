//go:build linux && cgo

package shim_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestLessUsualFailures breaks, under a crowd, what a module seldom answers, before
// and after it takes effect: whatever it is, callers get a right answer or may try
// again, all works again afterwards, no session in which something failed is used,
// and none stays open.
func TestLessUsualFailures(t *testing.T) {
	tok, good := open(t, func(c *hsm.Config) { c.Workers, c.MaxSessions, c.CachedKeys = 2, 3, 2 })
	for _, f := range []struct {
		name string
		call shim.Call
		code uint
	}{
		{"no session left", shim.OpenSession, 0xB1},
		{"a key was derived and the answer lost", shim.DeriveKey, 0x31},
		{"a key was made and the answer lost", shim.CreateObject, 0x31},
		{"closing a session fails", shim.CloseSession, 0x06},
		{"a search does not end", shim.FindFinal, 0x91},
		{"an operation is active", shim.SignInit, 0x90},
		{"an enciphering is active", shim.EncryptInit, 0x90},
		{"somebody is logged in already", shim.Login, 0x100},
	} {
		for _, done := range []bool{false, true} {
			if f.call == shim.Login && !done || f.call == shim.OpenSession && done {
				continue // the one would be a lie, and nobody can close the sessions of the other
			}
			what := fmt.Sprintf("%s, done %t", f.name, done)
			var callers sync.WaitGroup
			made.Fail(f.call, shim.Fault{Code: f.code, Done: done, Skip: 2, Times: 6})
			if f.call == shim.OpenSession || f.call == shim.FindFinal || f.call == shim.Login {
				made.LoseLogin() // which has sessions opened and keys found
			}
			for range 3 {
				for op, call := range operations {
					callers.Go(func() {
						answer, err := call(t.Context(), tok)
						retriable(t, what+": "+op, answer, good[op], err)
					})
				}
			}
			callers.Wait()
			made.Heal()
			recovers(t, what, tok, good)
			if n := made.Open(); n > 1+2+3 {
				t.Errorf("%s: %d sessions are open", what, n)
			}
			if left, err := tok.Unlabelled(t.Context(), false); err != nil || len(left) != 0 {
				t.Errorf("%s: %q stay on the token, %v", what, left, err)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// TestNoSessionAtStart: a token that has no session left cannot be opened, and can be
// as soon as it has.
func TestNoSessionAtStart(t *testing.T) {
	behind(t)
	cfg := hsmtest.EmptyOn(t, made.Module)
	for _, done := range []bool{false, true} {
		made.Fail(shim.OpenSession, shim.Fault{Code: 0xB1, Done: done, Times: 1})
		if _, err := hsm.Open(t.Context(), cfg); !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("without a session: %v", err)
		}
		made.Heal()
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := tok.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestClosingFails: a token whose logout fails can be closed and opened again.
func TestClosingFails(t *testing.T) {
	behind(t)
	cfg := hsmtest.EmptyOn(t, made.Module)
	for _, done := range []bool{false, true} {
		for _, call := range []shim.Call{shim.Logout, shim.CloseSession, shim.GetInfo} {
			made.Fail(call, shim.Fault{Code: 0x05, Done: done})
			tok, err := hsm.Open(t.Context(), cfg)
			if err != nil {
				t.Fatalf("call %d: %v", call, err)
			}
			if err := tok.Close(); err != nil {
				t.Errorf("call %d, done %t: closing: %v", call, done, err)
			}
			made.Heal()
			if tok, err = hsm.Open(t.Context(), cfg); err == nil {
				err = errors.Join(tok.Health(t.Context()), tok.Close())
			}
			if err != nil {
				t.Errorf("call %d, done %t: afterwards: %v", call, done, err)
			}
		}
	}
}

// TestCallThatHangs: while one call hangs in the module, others go on in other
// sessions, and whoever waits is let go when its time is up.
func TestCallThatHangs(t *testing.T) {
	tok, good := open(t, func(c *hsm.Config) { c.Workers, c.MaxSessions = 2, 2 })
	made.DelayCall(shim.DecryptInit, 5*time.Second) // only unsealing needs it
	var back atomic.Bool
	var hanging sync.WaitGroup
	calls := made.Calls(shim.DecryptInit)
	hanging.Go(func() {
		answer, err := operations["seal"](t.Context(), tok)
		retriable(t, "the call that hangs", answer, good["seal"], err)
		back.Store(true)
	})
	until(t, "it hangs", func() bool { return made.Calls(shim.DecryptInit) > calls })
	made.DelayCall(shim.DecryptInit, 0) // for those that come later
	for range 50 {
		for _, op := range []string{"process MAC", "folded MAC", "HMAC", "sign", "health"} {
			answer, err := operations[op](t.Context(), tok)
			if err != nil || answer != good[op] {
				t.Errorf("%s beside a call that hangs: %v", op, err)
			}
		}
	}
	if back.Load() {
		t.Log("the machine is so slow that it ended meanwhile")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	made.DelayCall(shim.Sign, 2*time.Second)
	var others sync.WaitGroup
	var late atomic.Int64
	for range 8 {
		others.Go(func() {
			if _, err := tok.HMAC(ctx, ref(keyref.PARKey), []byte("m")); errors.Is(err, context.DeadlineExceeded) {
				late.Add(1)
			}
		})
	}
	others.Wait()
	if late.Load() < 6 {
		t.Errorf("%d callers were let go, of 8 for one or two sessions", late.Load())
	}
	made.Heal()
	hanging.Wait()
	recovers(t, "afterwards", tok, good)
}
