//go:build linux && cgo

package shim_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// more are operations that make session objects outside of the engine.
func more(t *testing.T) map[string]func(context.Context, *hsm.Token) (string, error) {
	t.Helper()
	element, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(operations)
	all["wrap"] = func(ctx context.Context, tok *hsm.Token) (string, error) {
		p, _ := keyref.Ref{Realm: hsmtest.Realm, Usage: keyref.SlotPurchaseMaster, Version: 1}.Path(keyref.Factor{1}, keyref.Factor{2})
		wrapped, err := tok.WrapTokenKey(ctx, p, &element.PublicKey)
		if err != nil {
			return "", err
		}
		key, err := rsa.DecryptOAEP(sha1.New(), nil, element, wrapped, nil)
		return fmt.Sprintf("%x", key), err
	}
	all["agree"] = func(ctx context.Context, tok *hsm.Token) (answer string, err error) {
		err = tok.ECDH(ctx, keyref.Ref{Usage: keyref.Intake, Version: 1}, sender.PublicKey(), func(secret []byte) error {
			answer = fmt.Sprintf("%x", secret)
			return nil
		})
		return answer, err
	}
	all["public key"] = func(ctx context.Context, tok *hsm.Token) (string, error) {
		k, err := tok.PublicKey(ctx, ref(keyref.CredSign))
		if err != nil {
			return "", err
		}
		b, err := k.Bytes()
		return fmt.Sprintf("%x", b), err
	}
	all["require"] = func(ctx context.Context, tok *hsm.Token) (string, error) {
		return "", tok.Require(ctx, ref(keyref.CredSign))
	}
	return all
}

// crowd makes every operation on a token, again and again, until it is stopped.
// Answers and errors go to judge.
func crowd(t *testing.T, tok *hsm.Token, each int, all map[string]func(context.Context, *hsm.Token) (string, error), judge func(op, answer, good string, err error)) (stop func()) {
	t.Helper()
	good := map[string]string{}
	for name, op := range all {
		answer, err := op(t.Context(), tok)
		if err != nil {
			t.Fatalf("%s before all: %v", name, err)
		}
		good[name] = answer
	}
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for range each {
		for name, op := range all {
			callers.Go(func() {
				for ctx.Err() == nil {
					answer, err := op(context.Background(), tok)
					judge(name, answer, good[name], err)
				}
			})
		}
	}
	return func() { cancel(); callers.Wait() }
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited until %s", what)
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

func times(tok *hsm.Token) uint64 { return tok.Recycled().Times }

// recycling is what tokens of these tests are made of: the keys that are used and no
// more, which are found again sooner.
func recycling(config func(*hsm.Config)) hsmtest.Options {
	refs := []keyref.Ref{ref(keyref.PurchaseMaster), ref(keyref.TACMaster), ref(keyref.PARKey), ref(keyref.PANSeal), ref(keyref.CredSign),
		{Usage: keyref.Intake, Version: 1}, {Realm: hsmtest.Realm, Usage: keyref.SlotPurchaseMaster, Version: 1}}
	return hsmtest.Options{Module: made.Module, Refs: refs, Config: config}
}

// elements lets a token wrap keys for elements and be recycled every n objects.
func elements(n int) func(*hsm.Config) {
	return func(c *hsm.Config) {
		c.Workers, c.MaxSessions, c.CachedKeys, c.ElementKeys, c.RecycleAfter = 2, 4, 4, 1, n
	}
}

// TestRecycled makes a module anew every few hundred objects under two tokens and
// callers of everything: no call fails or gets a wrong answer, and tokens that
// come and go meanwhile do not mind.
func TestRecycled(t *testing.T) {
	behind(t)
	all := more(t)
	a, b := hsmtest.New(t, recycling(elements(200))), hsmtest.New(t, recycling(elements(200)))
	fine := func(op, answer, good string, err error) {
		if err != nil || answer != good {
			t.Errorf("%s: %q, %v", op, answer, err)
		}
	}
	cfg := hsmtest.EmptyOn(t, made.Module)
	until(t, "nothing is under way yet", func() bool { return !a.Recycled().Asked })
	ins, outs := made.Calls(shim.Initialize), made.Calls(shim.Finalize)
	stopA, stopB := crowd(t, a, 1, all, fine), crowd(t, b, 1, all, fine)
	for from, had := times(a), uint64(0); had < 3; had = times(a) - from {
		tok, err := hsm.Open(t.Context(), cfg)
		if err != nil {
			t.Errorf("opening another: %v", err)
			break
		}
		if err := tok.Health(t.Context()); err != nil {
			t.Errorf("another: %v", err)
		}
		if err := tok.Close(); err != nil {
			t.Errorf("closing another: %v", err)
		}
	}
	stopA()
	stopB()
	if times(b) < 3 {
		t.Errorf("the second token knows of %d times", times(b))
	}
	if a.Recycled().Took <= 0 {
		t.Error("it took no time")
	}
	if n := made.Open(); n > 2*(1+2+4) {
		t.Errorf("%d sessions are open, want at most an anchor, 2 workers' and 4 of the pool for each token", n)
	}
	until(t, "nothing is under way", func() bool { return !a.Recycled().Asked })
	if ins, outs = made.Calls(shim.Initialize)-ins, made.Calls(shim.Finalize)-outs; ins != outs || ins < 3 {
		t.Errorf("initialised %d times, finalised %d times", ins, outs)
	}
}

// TestRecycledOneByOne closes tokens while others go on.
func TestRecycledOneByOne(t *testing.T) {
	behind(t)
	all := more(t)
	var toks []*hsm.Token
	var stops []func()
	var closed [2]atomic.Bool
	for i := range closed {
		tok := hsmtest.New(t, recycling(elements(100)))
		toks = append(toks, tok)
		stops = append(stops, crowd(t, tok, 1, all, func(op, answer, good string, err error) {
			if closed[i].Load() {
				return // whatever
			}
			if err != nil && !closed[i].Load() || err == nil && answer != good {
				t.Errorf("%s of token %d: %q, %v", op, i, answer, err)
			}
		}))
	}
	for i, tok := range toks {
		from := times(tok)
		until(t, "it was recycled", func() bool { return times(tok) > from })
		closed[i].Store(true)
		if err := tok.Close(); err != nil {
			t.Errorf("closing token %d: %v", i, err)
		}
		stops[i]()
	}
}

// TestRecyclingFails breaks what happens while a module is made anew. Calls
// fail then as when a token is lost, and it recovers by itself.
func TestRecyclingFails(t *testing.T) {
	behind(t)
	all := more(t)
	for name, f := range map[string]struct {
		call  shim.Call
		fault shim.Fault
	}{
		"initialising, once":   {shim.Initialize, shim.Fault{Code: 0x30, Times: 1}},
		"initialising, thrice": {shim.Initialize, shim.Fault{Code: 0x05, Times: 3}},
		"finalising":           {shim.Finalize, shim.Fault{Code: 0x05, Times: 1}},
		"a login":              {shim.Login, shim.Fault{Code: 0x30, Times: 1}},
		"looking for slots":    {shim.GetTokenInfo, shim.Fault{Code: 0x30, Times: 64}}, // more often than it looks again
		"copying keys":         {shim.CopyObject, shim.Fault{Code: 0x30, Times: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var armed atomic.Bool
			var held, failed, putOff atomic.Uint64
			change := func(c *hsm.Config) {
				elements(150)(c)
				c.Prepare = func() error { // just before the module is initialised
					if f.call != shim.Finalize && armed.CompareAndSwap(true, false) {
						made.Fail(f.call, f.fault)
					}
					return nil
				}
				c.OnRecycle = func(_ time.Duration, err error) {
					switch {
					case err == nil:
						held.Add(1)
					case strings.Contains(err.Error(), "tried again after some more use"):
						putOff.Add(1)
					default:
						failed.Add(1)
					}
				}
			}
			tok := hsmtest.New(t, recycling(change))
			good := map[string]string{}
			for op, f := range operations {
				answer, err := f(t.Context(), tok)
				if err != nil {
					t.Fatal(err)
				}
				good[op] = answer
			}
			stop := crowd(t, tok, 1, all, func(op, answer, good string, err error) { retriable(t, op, answer, good, err) })
			if armed.Store(true); f.call == shim.Finalize {
				made.Fail(f.call, f.fault)
			}
			until(t, "it failed", func() bool { return tok.Recycled().Failed > 0 })
			n := times(tok)
			until(t, "it was recycled again", func() bool { return times(tok) > n })
			stop()
			armed.Store(false)
			until(t, "nothing is under way", func() bool { return !tok.Recycled().Asked })
			if r := tok.Recycled(); r.Times != held.Load() || r.Failed != failed.Load() || r.PutOff != putOff.Load() {
				t.Errorf("%+v, but told of %d that held, %d that failed and %d that were put off", r, held.Load(), failed.Load(), putOff.Load())
			}
			made.Heal()
			recovers(t, name, tok, good)
		})
	}
}

// TestRecyclingPutOff: a module is left alone while a token would not come back.
func TestRecyclingPutOff(t *testing.T) {
	behind(t)
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte(hsmtest.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	said := make(chan error, 1000)
	tok := hsmtest.New(t, recycling(func(c *hsm.Config) {
		elements(100)(c)
		c.PIN = hsm.PINFile(pin)
		c.OnRecycle = func(_ time.Duration, err error) {
			select {
			case said <- err:
			default: // nobody reads any more
			}
		}
	}))
	agree := more(t)["agree"]
	work := func() error {
		_, err := operations["folded MAC"](t.Context(), tok)
		if err == nil {
			_, err = agree(t.Context(), tok)
		}
		return err
	}
	heard := func(what string, ok func(error) bool) {
		t.Helper()
		until(t, what, func() bool {
			if err := work(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-said:
				return ok(err)
			default:
				return false
			}
		})
	}
	heard("it was recycled", func(err error) bool { return err == nil })
	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	heard("it was put off for its PIN", func(err error) bool { return errors.Is(err, os.ErrNotExist) })
	n := times(tok)
	heard("it was put off again", func(err error) bool { return err != nil })
	if times(tok) != n {
		t.Error("it was recycled without a PIN")
	}
	if err := os.WriteFile(pin, []byte(hsmtest.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	heard("it was recycled again", func(err error) bool { return err == nil })
	scratch := keyref.Ref{Realm: hsmtest.Realm, Usage: keyref.PurchaseMaster, Version: 9}
	if err := tok.ImportScratch(t.Context(), scratch, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	heard("it was put off for a scratch key", func(err error) bool { return err != nil })
	n = times(tok)
	heard("it was put off again", func(err error) bool { return err != nil })
	if times(tok) != n {
		t.Error("a scratch key was lost")
	}
	if err := tok.Forget(t.Context(), scratch); err != nil {
		t.Fatal(err)
	}
	heard("it was recycled at last", func(err error) bool { return err == nil })
}
