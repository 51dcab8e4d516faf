package group_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/hsm/keyref"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

const deviceError = 0x30

// keep opens a home and keeps the token, for what is done to it past the group.
func (h home) keep(at *atomic.Pointer[hsm.Token]) func(context.Context) (*hsm.Token, error) {
	return func(ctx context.Context) (*hsm.Token, error) {
		t, err := h.open(ctx)
		if err == nil {
			at.Store(t)
		}
		return t, err
	}
}

// put gives a token another key under a label.
func put(t *testing.T, tok *hsm.Token, r keyref.Ref, letter byte) {
	t.Helper()
	if err := tok.Destroy(t.Context(), r); err != nil && !errors.Is(err, hsm.ErrKeyMissing) {
		t.Fatal(err)
	}
	if err := tok.Import(t.Context(), r, bytes.Repeat([]byte{letter}, 32)); err != nil {
		t.Fatal(err)
	}
}

// modules are SoftHSM as it is, and once more in a shim that breaks it.
func modules(t *testing.T) (original string, broken *shim.Shim) {
	t.Helper()
	t.Setenv(softhsmconfig.Env, "")
	original, err := softhsmconfig.Module()
	if err != nil {
		t.Fatal(err)
	}
	broken, err = shim.Build(t.TempDir(), library(t, original))
	if err != nil {
		t.Fatal(err)
	}
	return original, broken
}

// grouped is a group of two tokens, one of them in a shim, and its log.
func grouped(t *testing.T, broken *shim.Shim, one, two func(context.Context) (*hsm.Token, error)) (*group.Group, *lines) {
	t.Helper()
	said := &lines{}
	g, err := group.New(t.Context(), slog.New(slog.NewTextHandler(said, nil)), group.Member{Name: "1", Open: one}, group.Member{Name: "2", Open: two})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		broken.Heal()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, said
}

// TestKeyChangedWhileOut: a token that was in, and comes back with another key under
// a label, stays out until it has the right one again.
func TestKeyChangedWhileOut(t *testing.T) {
	original, broken := modules(t)
	first := born(t, original)
	second := first.cloned(t, broken.Module)
	var one, two atomic.Pointer[hsm.Token]
	g, said := grouped(t, broken, first.keep(&one), second.keep(&two))
	key := keyref.Ref{Usage: keyref.PARKey, Version: 9}
	put(t, one.Load(), key, 'a')
	put(t, two.Load(), key, 'a')
	if err := g.Require(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	good, err := g.HMAC(t.Context(), key, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	right := func(when string) {
		t.Helper()
		for range 20 {
			if got, err := g.HMAC(t.Context(), key, []byte("m")); err != nil || got != good {
				t.Errorf("%s: a wrong answer, or none: %v", when, err)
			}
		}
	}
	up := g.States()[1].Up
	broken.Fail(shim.GenerateRandom, shim.Fault{Code: deviceError}) // which looking after it needs, and nothing else here
	until(t, "the token is out", func() bool { return !up() })
	put(t, two.Load(), key, 'b')
	broken.Heal()
	until(t, "its key is found to be another", func() bool { return said.has("is another key in token") })
	right("with a token that came back with another key")
	if up() {
		t.Error("a token with another key is given work")
	}
	put(t, two.Load(), key, 'a')
	until(t, "the token is in again", up)
	right("with both")
}

// TestStrangerAlone: while the only token that is known is out, another one, whose
// keys nobody can compare, is given no work: not even when there is no other.
func TestStrangerAlone(t *testing.T) {
	original, broken := modules(t)
	first, strange := born(t, broken.Module), born(t, original)
	var there atomic.Bool
	late := func(ctx context.Context) (*hsm.Token, error) {
		if there.Load() {
			return strange.open(ctx)
		}
		return nil, fmt.Errorf("%w: the cable is out", hsm.ErrUnavailable)
	}
	g, said := grouped(t, broken, first.open, late)
	key := keyref.Ref{Usage: keyref.PARKey, Version: 1}
	if err := g.Require(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	good, err := g.HMAC(t.Context(), key, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	for c := shim.OpenSession; c <= shim.GenerateRandom; c++ {
		if c != shim.CloseSession {
			broken.Fail(c, shim.Fault{Code: deviceError})
		}
	}
	until(t, "the token is out", func() bool { return !g.States()[0].Up() })
	there.Store(true)
	until(t, "the other is refused", func() bool { return said.has("no token is up that its keys could be compared with") })
	for range 20 {
		if got, err := g.HMAC(t.Context(), key, []byte("m")); !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("a token that nobody knows answers: rightly %t, %v", got == good, err)
		}
	}
	if g.States()[1].Up() {
		t.Error("a token that nobody knows is in")
	}
	broken.Heal()
	until(t, "the first is in again", g.States()[0].Up)
	until(t, "the other's keys are found to be others", func() bool { return said.has("is another key in token") })
	if got, err := g.HMAC(t.Context(), key, []byte("m")); err != nil || got != good {
		t.Errorf("with the first: %v", err)
	}
}
