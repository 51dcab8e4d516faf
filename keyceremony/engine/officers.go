package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/keyceremony/officer"
)

// officerKey is what a person's key is called on a token of their own.
var officerKey = keyref.Ref{Usage: keyref.OfficerSign, Version: 1}

// ErrCard reports that a person's own token is not there, or was pulled out. The
// person can put it in, and type its PIN again.
var ErrCard = fault.New(fault.HSMUnavailable, "a person's own token is not there")

// wrongPIN is said to somebody whose own token refused what they typed.
const wrongPIN = "look it up before the next try: nothing tries again by itself, and a few wrong ones may lock the token"

// away says what to do about a token that is not there, or does not answer to the end.
func away(c officer.Card, err error) error {
	how, absent := hsm.Absent(err)
	if errors.Is(err, ErrCard) {
		how, absent = "its login is gone, and its PIN is not kept", true
	}
	if !absent {
		return err
	}
	return fmt.Errorf("%w: put the token %q of %s in, and leave it there until somebody else is asked (%s)", ErrCard, c.Token, c.Name, how)
}

// Enrol makes a person's key on a token of their own, or finds the one that is
// there, and returns its public half for the card. A PIN is tried once.
func Enrol(ctx context.Context, c officer.Card, pin []byte) (public string, err error) {
	t, err := openCard(ctx, c, pin)
	if err != nil { // the label may be wrong, and which there are is said
		return "", err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.Generate(ctx, officerKey); err != nil && !errors.Is(err, hsm.ErrKeyExists) {
		return "", away(c, err)
	}
	k, err := signer(ctx, c, t)
	if err != nil {
		return "", away(c, err)
	}
	return k.Public().String(), nil
}

// Unlock logs in to a person's own token. The key there has to be the card's.
func Unlock(ctx context.Context, c officer.Card, pin []byte) (officer.Signer, error) {
	t, err := openCard(ctx, c, pin)
	if err != nil {
		return nil, away(c, err)
	}
	k, err := signer(ctx, c, t)
	if err == nil && k.Public().String() != c.Public {
		err = fmt.Errorf("%w: token %q holds another key than %s enrolled with: bring the right token", ErrApproval, c.Token, c.Name)
	}
	if err != nil {
		return nil, errors.Join(away(c, err), t.Close())
	}
	return k, nil
}

func openCard(ctx context.Context, c officer.Card, pin []byte) (*hsm.Token, error) {
	typed := bytes.Clone(pin)
	defer clear(typed)
	return hsm.Open(ctx, hsm.Config{Module: c.Module, InitArgs: c.InitArgs, Token: c.Token, WrongPIN: wrongPIN, PIN: func(use func(pin []byte) error) error {
		if len(bytes.Trim(typed, "\x00")) == 0 {
			return ErrCard
		}
		return lend(typed, use)
	}})
}

func signer(ctx context.Context, c officer.Card, t *hsm.Token) (officer.Signer, error) {
	if err := t.Require(ctx, officerKey); err != nil {
		return nil, err
	}
	public, err := t.PublicKey(ctx, officerKey)
	if err != nil {
		return nil, err
	}
	sign := func(digest [32]byte) ([64]byte, error) {
		sig, err := t.Sign(ctx, officerKey, digest)
		return sig, away(c, err)
	}
	return officer.OnToken(public, sign, func() { _ = t.Close() }), nil
}
