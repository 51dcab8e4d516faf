package engine

import (
	"bytes"
	"context"

	"github.com/tapvault/tapvault/hsm"
)

// HSM is a [Module] of PKCS #11. Config.Token is set for each token; its PIN is
// asked for when nobody types one.
type HSM struct{ Config hsm.Config }

// Init implements [Module].
func (h HSM) Init(ctx context.Context, label string, so, user []byte) error {
	defer clear(so)
	defer clear(user)
	return hsm.InitToken(ctx, hsm.InitConfig{Module: h.Config.Module, InitArgs: h.Config.InitArgs, Label: label, SOPIN: so, UserPIN: user, Resume: true})
}

// Open implements [Module].
func (h HSM) Open(ctx context.Context, label string, pin []byte) (Token, error) {
	t, err := h.Login(ctx, label, pin)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Login is [HSM.Open], for those who need all that a token can do.
func (h HSM) Login(ctx context.Context, label string, pin []byte) (*hsm.Token, error) {
	c := h.Config
	c.Token = label
	if len(pin) > 0 {
		typed := bytes.Clone(pin)
		c.PIN = func(use func(pin []byte) error) error { return lend(typed, use) }
		c.WrongPIN = "whoever typed a part of it looks it up; then --resume, which asks for all parts again. Each time is one try, and a few may lock the token"
	}
	return hsm.Open(ctx, c)
}

var _ Token = (*hsm.Token)(nil)

// lend gives use a copy of a typed PIN, which is wiped whether or not it was used.
func lend(typed []byte, use func(pin []byte) error) error {
	pin := bytes.Clone(typed)
	defer clear(pin)
	return use(pin)
}
