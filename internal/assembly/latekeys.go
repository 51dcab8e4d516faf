package assembly

import (
	"context"
	"errors"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// lateKeys is the HSM for the vault. A process that runs while another one
// rewraps meets rows under a version of a key that it did not ask for at its
// start; it asks then. Such a version may be retired under it.
type lateKeys struct{ *group.Group }

// late reports whether a call that failed is worth another try.
func (k lateKeys) late(ctx context.Context, ref keyref.Ref, err error) bool {
	return errors.Is(err, hsm.ErrKeyMissing) && k.RequireLate(ctx, ref) == nil
}

// Seal is the HSM's.
func (k lateKeys) Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) ([]byte, error) {
	out, err := k.Group.Seal(ctx, ref, plaintext, aad)
	if k.late(ctx, ref, err) {
		return k.Group.Seal(ctx, ref, plaintext, aad)
	}
	return out, err
}

// Unseal is the HSM's.
func (k lateKeys) Unseal(ctx context.Context, ref keyref.Ref, sealed, aad []byte) ([]byte, error) {
	out, err := k.Group.Unseal(ctx, ref, sealed, aad)
	if k.late(ctx, ref, err) {
		return k.Group.Unseal(ctx, ref, sealed, aad)
	}
	return out, err
}

// HMAC is the HSM's.
func (k lateKeys) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error) {
	out, err := k.Group.HMAC(ctx, ref, msg)
	if k.late(ctx, ref, err) {
		return k.Group.HMAC(ctx, ref, msg)
	}
	return out, err
}
