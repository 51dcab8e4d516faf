package wallet

import (
	"context"
	"crypto/subtle"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Ack takes a device's proof that it opened a bundle, and makes its token
// ACTIVE. It may be repeated. A wrong proof and a bundle of another token are
// both refused and change nothing.
func (s *Service) Ack(ctx context.Context, c access.Caller, ref token.Ref, bundleID string, mac []byte) (token.Token, error) {
	if err := s.Gate.Check(ctx, c, access.BundleCreate, ref.Object()); err != nil {
		return token.Token{}, err
	}
	t, err := s.usable(ctx, c, ref)
	if err != nil {
		return token.Token{}, err
	}
	b, err := s.Store.Bundle(ctx, bundleID)
	if err != nil {
		return token.Token{}, err
	}
	if b.Ref != ref {
		return token.Token{}, s.Gate.Refuse(ctx, c, access.BundleCreate, ref.Object(), "foreign-bundle", ErrUnknown)
	}
	script, err := s.script(ctx, b)
	if err != nil {
		return token.Token{}, err
	}
	want := payload.Ack(script, b.ID)
	clear(script[:])
	if subtle.ConstantTimeCompare(want[:], mac) != 1 {
		return token.Token{}, s.Gate.Refuse(ctx, c, access.BundleCreate, ref.Object(), "ack-mac", ErrRefused)
	}
	if err := s.Store.Acknowledge(ctx, b.ID, s.Now()); err != nil {
		return token.Token{}, fmt.Errorf("noting acknowledgement: %w", err)
	}
	if t.State == token.Active {
		return t, nil
	}
	if t, err = s.move(ctx, t, token.Activate); err != nil {
		return token.Token{}, fmt.Errorf("activating token: %w", err)
	}
	return t, nil
}
