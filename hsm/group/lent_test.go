package group_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// TestASecretIsLentOnce: what is done with a secret is done once, whatever came of it.
// Whoever masks with a secret would take the mask off by doing so again.
func TestASecretIsLentOnce(t *testing.T) {
	seal, agree := keyref.Ref{Usage: keyref.PINSeal, Version: 1}, keyref.Ref{Usage: keyref.Intake, Version: 1}
	one := hsmtest.New(t, hsmtest.Options{Refs: []keyref.Ref{seal, agree}})
	open := func(context.Context) (*hsm.Token, error) { return one, nil }
	g, err := group.New(t.Context(), slog.New(slog.DiscardHandler), group.Member{Name: "1", Open: open}, group.Member{Name: "2", Open: open})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Require(t.Context(), seal, agree); err != nil {
		t.Fatal(err)
	}
	sealed, err := g.Seal(t.Context(), seal, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, lend := range map[string]func(use func([]byte) error) error{
		"unsealed": func(use func([]byte) error) error { return g.UnsealSecret(t.Context(), seal, sealed, nil, use) },
		"agreed":   func(use func([]byte) error) error { return g.ECDH(t.Context(), agree, peer.PublicKey(), use) },
	} {
		lent := 0
		err := lend(func(secret []byte) error {
			lent++
			return fmt.Errorf("using it: %w", hsm.ErrUnavailable)
		})
		if lent != 1 || !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("%s: lent %d times, %v", name, lent, err)
		}
	}
}
