package group_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// hiccup is a code of a vendor's own that says nothing of session or token.
const hiccup = 0x80000123

var base, later = keyref.Ref{Usage: keyref.PARKey, Version: 9}, keyref.Ref{Usage: keyref.PARKey, Version: 10}

// couple is a group of two tokens that are in shims, each with the key base, which is required.
type couple struct {
	*group.Group
	said   *lines
	shims  [2]*shim.Shim
	tokens [2]atomic.Pointer[hsm.Token]
}

func coupled(t *testing.T) *couple {
	t.Helper()
	original, second := modules(t)
	first, err := shim.Build(t.TempDir(), library(t, original))
	if err != nil {
		t.Fatal(err)
	}
	c := &couple{shims: [2]*shim.Shim{first, second}}
	one := born(t, first.Module)
	two := one.cloned(t, second.Module)
	t.Cleanup(first.Heal)
	c.Group, c.said = grouped(t, second, one.keep(&c.tokens[0]), two.keep(&c.tokens[1]))
	t.Cleanup(first.Heal) // before it is closed
	c.both(t, base, 'a', 'a')
	if err := c.Require(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	return c
}

// both gives the tokens keys under a label.
func (c *couple) both(t *testing.T, r keyref.Ref, letters ...byte) {
	t.Helper()
	for i, l := range letters {
		put(t, c.tokens[i].Load(), r, l)
	}
}

func (c *couple) up(i int) bool { return c.States()[i].Up() }

// answers calls often enough for every token to be asked.
func (c *couple) answers(t *testing.T, when string, r keyref.Ref) (mac [32]byte) {
	t.Helper()
	for i := range 10 {
		got, err := c.HMAC(t.Context(), r, []byte("m"))
		if i == 0 {
			mac = got
		}
		if err != nil || got != mac {
			t.Fatalf("%s: %v, the same answer: %t", when, err, got == mac)
		}
	}
	return mac
}

// works makes calls until a token is asked.
func (c *couple) works(t *testing.T, when string, i int, r keyref.Ref) {
	t.Helper()
	before := c.shims[i].Calls(shim.Sign)
	until(t, "a token works "+when, func() bool { c.answers(t, when, r); return c.shims[i].Calls(shim.Sign) > before })
}

// TestFailsOnANewKey: a token that fails while a new key is made ready is not asked for
// that key until it has it.
func TestFailsOnANewKey(t *testing.T) {
	c := coupled(t)
	c.both(t, later, 'b', 'b')
	c.shims[1].Fail(shim.Sign, shim.Fault{Code: hiccup, Times: 1})
	if err := c.RequireLate(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	c.answers(t, "after a hiccup", later)
	until(t, "the token is in", func() bool { return c.up(1) })
	c.works(t, "with the new key", 1, later)
}

// TestLacksANewKey: a token that comes back without a key that came meanwhile, and the other
// has, stays out until it has it.
func TestLacksANewKey(t *testing.T) {
	c := coupled(t)
	c.both(t, later, 'b')
	c.shims[1].Fail(shim.GenerateRandom, shim.Fault{Code: hiccup})
	until(t, "the token is out", func() bool { return !c.up(1) })
	if err := c.RequireLate(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	c.shims[1].Heal()
	until(t, "it is told of", func() bool { return c.said.has("holds no such key") })
	if c.up(1) {
		t.Error("it is in without the key")
	}
	put(t, c.tokens[1].Load(), later, 'b')
	until(t, "the token is in", func() bool { return c.up(1) })
	c.works(t, "with the new key", 1, later)
}

// TestKeyThatDiffersIsNotUsed: a key that is asked for late, and is another one in each
// token, or in one of them only, is not used, however often somebody asks.
func TestKeyThatDiffersIsNotUsed(t *testing.T) {
	c := coupled(t)
	for name, x := range map[string]struct {
		letters []byte
		want    error
	}{"another key": {[]byte("bc"), hsm.ErrKeyUnfit}, "in one alone": {[]byte("b"), hsm.ErrKeyMissing}} {
		r := later
		r.Version += uint8(len(x.letters))
		c.both(t, r, x.letters...)
		if err := c.RequireLate(t.Context(), r); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
		for range 4 {
			if _, err := c.HMAC(t.Context(), r, []byte("m")); !errors.Is(err, hsm.ErrKeyMissing) {
				t.Errorf("%s, and it is used: %v", name, err)
			}
		}
	}
	c.answers(t, "by another key", base)
}

// TestLookingHangs: a token whose module does not come back from being looked at is given
// no work until it does.
func TestLookingHangs(t *testing.T) {
	c := coupled(t)
	c.shims[1].Hang(shim.GenerateRandom)
	until(t, "the token is out", func() bool { return !c.up(1) })
	until(t, "somebody is told", func() bool { return c.said.has("does not come back") })
	c.answers(t, "without it", base)
	c.shims[1].Heal()
	until(t, "the token is in", func() bool { return c.up(1) && c.said.has("in again") })
	c.works(t, "again", 1, base)
}

// TestNewKeyMeanwhile: a token that comes back while a key is asked for is given work once
// it has that key; and whoever asks does not wait for the token, which hangs.
func TestNewKeyMeanwhile(t *testing.T) {
	c := coupled(t)
	c.both(t, later, 'b', 'b')
	before := c.shims[1].Calls(shim.Sign)
	c.shims[1].Hang(shim.Sign)
	c.shims[1].Fail(shim.GenerateRandom, shim.Fault{Code: hiccup, Times: 1})
	until(t, "the token is being taken in", func() bool { return c.shims[1].Calls(shim.Sign) > before })
	if c.up(1) {
		t.Fatal("the token is in already")
	}
	if err := c.RequireLate(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := c.Require(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 1}); err != nil {
		t.Fatal(err)
	}
	c.answers(t, "by the other", later)
	c.shims[1].Heal()
	until(t, "the token is in", func() bool { return c.up(1) })
	c.works(t, "with the new key", 1, later)
}

// TestSlowTokenComesBack: comparing all keys with a token that is far away takes longer
// than a look may. It comes in all the same.
func TestSlowTokenComesBack(t *testing.T) {
	c := coupled(t)
	var keys []keyref.Ref
	for _, k := range must(c.Inventory(t.Context()))(t) {
		keys = append(keys, k.Ref)
	}
	if err := c.Require(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	c.shims[1].Fail(shim.GenerateRandom, shim.Fault{Code: hiccup, Times: 1})
	until(t, "the token is out", func() bool { return !c.up(1) })
	c.shims[1].Delay(5 * time.Millisecond)
	until(t, "the token is in", func() bool { return c.up(1) })
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestOtherFailsMeanwhile: a token that comes back while the one it is compared with fails
// is not taken for a stranger: it goes on alone.
func TestOtherFailsMeanwhile(t *testing.T) {
	c := coupled(t)
	good := c.answers(t, "at first", base)
	c.shims[0].Fail(shim.Sign, shim.Fault{Code: hiccup})
	c.shims[1].Fail(shim.GenerateRandom, shim.Fault{Code: hiccup, Times: 1})
	until(t, "comparing fails", func() bool { return c.said.has("comparing") })
	c.shims[0].Remove()
	until(t, "the other is out", func() bool { return !c.up(0) })
	until(t, "the token is in", func() bool { return c.up(1) })
	if got := c.answers(t, "alone", base); got != good {
		t.Error("it answers something else")
	}
}

// TestLessKeysAreNotTheMeasure: a token that was alone, and never got a new key, does not
// keep the one out that has it; nor is a new key that was never compared used.
func TestLessKeysAreNotTheMeasure(t *testing.T) {
	for name, letters := range map[string]string{"lacks it": "b", "has another": "bc"} {
		t.Run(name, func(t *testing.T) {
			c := coupled(t)
			c.both(t, later, []byte(letters)...)
			c.shims[1].Fail(shim.GenerateRandom, shim.Fault{Code: hiccup})
			until(t, "the second is out", func() bool { return !c.up(1) })
			if err := c.RequireLate(t.Context(), later); err != nil {
				t.Fatal(err)
			}
			good := c.answers(t, "by the first", later)
			c.shims[0].Remove()
			until(t, "the first is out", func() bool { return !c.up(0) })
			c.shims[1].Heal()
			until(t, "the second is in", func() bool { return c.up(1) })
			c.answers(t, "by the second", base)
			if got, err := c.HMAC(t.Context(), later, []byte("m")); err == nil || got == good {
				t.Errorf("the second answers with a key that was never compared")
			}
			if err := c.RequireLate(t.Context(), later); err == nil {
				t.Error("a key that cannot be compared is accepted")
			}
			c.shims[0].Heal()
			if letters == "b" {
				until(t, "the first is in", func() bool { return c.up(0) })
			}
			until(t, "the new key works", func() bool { got, err := c.HMAC(t.Context(), later, []byte("m")); return err == nil && got == good })
			c.answers(t, "with both", base)
		})
	}
}

// TestRequiredKeyIsCompared: a token that was out when a key was required does not come in
// alone, since nobody knows whether it has the same.
func TestRequiredKeyIsCompared(t *testing.T) {
	c := coupled(t)
	c.both(t, later, 'b', 'c')
	c.shims[1].Fail(shim.GenerateRandom, shim.Fault{Code: hiccup})
	until(t, "the second is out", func() bool { return !c.up(1) })
	if err := c.Require(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	good := c.answers(t, "by the first", later)
	c.shims[0].Remove()
	until(t, "the first is out", func() bool { return !c.up(0) })
	c.shims[1].Heal()
	until(t, "the second is refused", func() bool { return c.said.has("no token is up that its keys could be compared with") })
	if got, err := c.HMAC(t.Context(), later, []byte("m")); !errors.Is(err, hsm.ErrUnavailable) || got == good || c.up(1) {
		t.Errorf("the second is in: %t, and its answer %v", c.up(1), err)
	}
	c.shims[0].Heal()
	until(t, "the second is found to have another", func() bool { return c.said.has("is another key in token") })
	if got := c.answers(t, "by the first again", later); got != good {
		t.Error("it answers something else")
	}
}

// TestHiccupIsNoOtherKey: a failure while two tokens are compared is not taken for a key
// that differs, which somebody would destroy.
func TestHiccupIsNoOtherKey(t *testing.T) {
	c := coupled(t)
	c.shims[1].Fail(shim.Decrypt, shim.Fault{Code: hiccup, Skip: 1, Times: 1}) // the first is a trial of the token's own
	if err := c.Require(t.Context(), keyref.Ref{Usage: keyref.PANSeal, Version: 1}); err != nil {
		t.Errorf("after a hiccup: %v", err)
	}
	until(t, "both are in", func() bool { return c.up(0) && c.up(1) })
}

// TestPanicIsNoCall: a call that panics is not one that the token is at for ever.
func TestPanicIsNoCall(t *testing.T) {
	agree := keyref.Ref{Usage: keyref.Intake, Version: 1}
	g := group.Of(hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{agree}}))
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it did not panic")
			}
		}()
		g.ECDH(t.Context(), agree, peer.PublicKey(), func([]byte) error { panic("in a call") })
	}()
	if n := g.States()[0].Busy(); n != 0 {
		t.Errorf("the token is at %d calls", n)
	}
}

// TestRefusedAtStart: what does not get better by itself stops the start, though another
// token answers, which is then closed.
func TestRefusedAtStart(t *testing.T) {
	cfg := hsmtest.Empty(t)
	var opened *hsm.Token
	good := group.Member{Name: "1", Open: func(ctx context.Context) (tok *hsm.Token, err error) {
		opened, err = hsm.Open(ctx, cfg)
		return opened, err
	}}
	for _, want := range []error{hsm.ErrPIN, hsm.ErrKeyUnfit, errors.New("others can read the PIN")} {
		bad := group.Member{Name: "2", Open: func(context.Context) (*hsm.Token, error) { return nil, want }}
		if _, err := group.New(t.Context(), slog.New(slog.DiscardHandler), good, bad); !errors.Is(err, want) {
			t.Errorf("%v instead of %v", err, want)
		}
		if opened.Close() == nil {
			t.Errorf("%v: the first token was left open", want)
		}
	}
}

// TestInMeanwhile: a token that was out when it was its turn to be asked for a new key, and in
// before all others had answered, gets the key too.
func TestInMeanwhile(t *testing.T) {
	original, last := modules(t)
	first, err := shim.Build(t.TempDir(), library(t, original))
	if err != nil {
		t.Fatal(err)
	}
	var tokens [3]atomic.Pointer[hsm.Token]
	one := born(t, original)
	g, err := group.New(t.Context(), slog.New(slog.DiscardHandler), group.Member{Name: "1", Open: one.cloned(t, first.Module).keep(&tokens[0])},
		group.Member{Name: "2", Open: one.keep(&tokens[1])}, group.Member{Name: "3", Open: one.cloned(t, last.Module).keep(&tokens[2])})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		first.Heal()
		last.Heal()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range tokens {
		put(t, tokens[i].Load(), base, 'a')
		put(t, tokens[i].Load(), later, 'b')
	}
	if err := g.Require(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	up := g.States()[0].Up
	first.Fail(shim.GenerateRandom, shim.Fault{Code: hiccup})
	until(t, "the first is out", func() bool { return !up() })
	before := last.Calls(shim.Sign)
	last.Hang(shim.Sign)
	asked := make(chan error, 1)
	go func() { asked <- g.RequireLate(t.Context(), later) }()
	until(t, "the last one is asked", func() bool { return last.Calls(shim.Sign) > before })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.RequireLate(gone, base); !errors.Is(err, context.Canceled) {
		t.Errorf("who asks meanwhile, and does not wait: %v", err)
	}
	first.Heal()
	until(t, "the first is in", up)
	last.Heal()
	if err := <-asked; err != nil {
		t.Fatal(err)
	}
	before = first.Calls(shim.Sign)
	until(t, "the first works with the new key", func() bool {
		if _, err := g.HMAC(t.Context(), later, []byte("m")); err != nil {
			t.Fatal(err)
		}
		return up() && first.Calls(shim.Sign) > before+20 // more than one comparison takes
	})
}

// TestClosedMeanwhile: a token that is opened while the group is closed does not stay open.
func TestClosedMeanwhile(t *testing.T) {
	one, two := hsmtest.Empty(t), hsmtest.Empty(t)
	var tried atomic.Int64
	opening, opened := make(chan struct{}), make(chan struct{})
	var late *hsm.Token
	g, err := group.New(t.Context(), slog.New(slog.DiscardHandler),
		group.Member{Name: "1", Open: func(ctx context.Context) (tok *hsm.Token, err error) {
			if tried.Add(1) == 1 {
				return nil, hsm.ErrUnavailable
			}
			close(opening)
			<-ctx.Done() // it is being closed
			late, err = hsm.Open(t.Context(), one)
			close(opened)
			return late, err
		}},
		group.Member{Name: "2", Open: func(ctx context.Context) (*hsm.Token, error) { return hsm.Open(ctx, two) }})
	if err != nil {
		t.Fatal(err)
	}
	<-opening
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	<-opened
	if late.Close() == nil {
		t.Error("the token was left open")
	}
}
