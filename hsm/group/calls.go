package group

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rsa"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// ProcessMAC is [hsm.Token.ProcessMAC] on one token.
func (g *Group) ProcessMAC(ctx context.Context, path keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	return on(ctx, g, call{"process-mac", path.Key}, func(ctx context.Context, t *hsm.Token) ([][4]byte, error) {
		return t.ProcessMAC(ctx, path, input, msgs...)
	})
}

// FoldedMAC is [hsm.Token.FoldedMAC] on one token.
func (g *Group) FoldedMAC(ctx context.Context, path keyref.Path, msg []byte) ([4]byte, error) {
	return on(ctx, g, call{"folded-mac", path.Key}, func(ctx context.Context, t *hsm.Token) ([4]byte, error) { return t.FoldedMAC(ctx, path, msg) })
}

// RetailMAC is [hsm.Token.RetailMAC] on one token.
func (g *Group) RetailMAC(ctx context.Context, path keyref.Path, msg []byte) ([4]byte, error) {
	return on(ctx, g, call{"retail-mac", path.Key}, func(ctx context.Context, t *hsm.Token) ([4]byte, error) { return t.RetailMAC(ctx, path, msg) })
}

// SlotKeys is [hsm.Token.SlotKeys] on one token.
func (g *Group) SlotKeys(ctx context.Context, path keyref.Path, uds []keyref.Factor) ([][16]byte, error) {
	return on(ctx, g, call{"slot-keys", path.Key}, func(ctx context.Context, t *hsm.Token) ([][16]byte, error) { return t.SlotKeys(ctx, path, uds) })
}

// WrapTokenKey is [hsm.Token.WrapTokenKey] on one token.
func (g *Group) WrapTokenKey(ctx context.Context, path keyref.Path, peer *rsa.PublicKey) ([]byte, error) {
	return on(ctx, g, call{"wrap-token-key", path.Key}, func(ctx context.Context, t *hsm.Token) ([]byte, error) { return t.WrapTokenKey(ctx, path, peer) })
}

// Encipher is [hsm.Token.Encipher] on one token.
func (g *Group) Encipher(ctx context.Context, path keyref.Path, block [8]byte) ([8]byte, error) {
	return on(ctx, g, call{"encipher", path.Key}, func(ctx context.Context, t *hsm.Token) ([8]byte, error) { return t.Encipher(ctx, path, block) })
}

// MAC3 is [hsm.Token.MAC3] on one token.
func (g *Group) MAC3(ctx context.Context, c keyref.Chain, padded []byte) ([8]byte, error) {
	return on(ctx, g, call{"mac3", c.Key}, func(ctx context.Context, t *hsm.Token) ([8]byte, error) { return t.MAC3(ctx, c, padded) })
}

// EncipherBlocks is [hsm.Token.EncipherBlocks] on one token.
func (g *Group) EncipherBlocks(ctx context.Context, c keyref.Chain, chained bool, blocks []byte) ([]byte, error) {
	return on(ctx, g, call{"encipher-blocks", c.Key}, func(ctx context.Context, t *hsm.Token) ([]byte, error) {
		return t.EncipherBlocks(ctx, c, chained, blocks)
	})
}

// CMAC is [hsm.Token.CMAC] on one token.
func (g *Group) CMAC(ctx context.Context, c keyref.Chain, msg []byte) ([16]byte, error) {
	return on(ctx, g, call{"cmac", c.Key}, func(ctx context.Context, t *hsm.Token) ([16]byte, error) { return t.CMAC(ctx, c, msg) })
}

// Reveal is [hsm.Token.Reveal] on one token.
func (g *Group) Reveal(ctx context.Context, c keyref.Chain) ([]byte, error) {
	return on(ctx, g, call{"reveal", c.Key}, func(ctx context.Context, t *hsm.Token) ([]byte, error) { return t.Reveal(ctx, c) })
}

// Seal is [hsm.Token.Seal] on one token.
func (g *Group) Seal(ctx context.Context, ref keyref.Ref, plaintext, aad []byte) ([]byte, error) {
	return on(ctx, g, call{"seal", ref}, func(ctx context.Context, t *hsm.Token) ([]byte, error) { return t.Seal(ctx, ref, plaintext, aad) })
}

// Unseal is [hsm.Token.Unseal] on one token.
func (g *Group) Unseal(ctx context.Context, ref keyref.Ref, sealed, aad []byte) ([]byte, error) {
	return on(ctx, g, call{"unseal", ref}, func(ctx context.Context, t *hsm.Token) ([]byte, error) { return t.Unseal(ctx, ref, sealed, aad) })
}

// HMAC is [hsm.Token.HMAC] on one token.
func (g *Group) HMAC(ctx context.Context, ref keyref.Ref, msg []byte) ([32]byte, error) {
	return on(ctx, g, call{"hmac", ref}, func(ctx context.Context, t *hsm.Token) ([32]byte, error) { return t.HMAC(ctx, ref, msg) })
}

// Sign is [hsm.Token.Sign] on one token.
func (g *Group) Sign(ctx context.Context, ref keyref.Ref, digest [32]byte) ([64]byte, error) {
	return on(ctx, g, call{"sign", ref}, func(ctx context.Context, t *hsm.Token) ([64]byte, error) { return t.Sign(ctx, ref, digest) })
}

// PublicKey is [hsm.Token.PublicKey] on one token.
func (g *Group) PublicKey(ctx context.Context, ref keyref.Ref) (*ecdsa.PublicKey, error) {
	return on(ctx, g, call{"public-key", ref}, func(ctx context.Context, t *hsm.Token) (*ecdsa.PublicKey, error) { return t.PublicKey(ctx, ref) })
}

// Unlabelled is [hsm.Token.Unlabelled] on every token that is up. It destroys
// nothing: that is for whoever has one token before them.
func (g *Group) Unlabelled(ctx context.Context) (all []string, err error) {
	for _, m := range g.members {
		if !m.up.Load() {
			continue
		}
		left, err := m.token.Load().Unlabelled(ctx, false)
		if err != nil && len(g.members) > 1 && fault.KindOf(err) == fault.HSMUnavailable {
			m.suspect()
			continue
		}
		if err != nil {
			return all, err
		}
		all = append(all, left...)
	}
	return all, nil
}

// ECDH is [hsm.Token.ECDH] on one token. The secret is lent once.
func (g *Group) ECDH(ctx context.Context, ref keyref.Ref, peer *ecdh.PublicKey, use func(secret []byte) error) error {
	return g.lend(ctx, call{"ecdh", ref}, use, func(ctx context.Context, t *hsm.Token, use func([]byte) error) error {
		return t.ECDH(ctx, ref, peer, use)
	})
}

// UnsealSecret is [hsm.Token.UnsealSecret] on one token. The secret is lent once.
func (g *Group) UnsealSecret(ctx context.Context, ref keyref.Ref, sealed, aad []byte, use func(secret []byte) error) error {
	return g.lend(ctx, call{"unseal-secret", ref}, use, func(ctx context.Context, t *hsm.Token, use func([]byte) error) error {
		return t.UnsealSecret(ctx, ref, sealed, aad, use)
	})
}

// lend makes a call that lends a secret. What use says is no word about the token, and
// another token would lend the secret again: it is told apart from what the token says.
func (g *Group) lend(ctx context.Context, c call, use func([]byte) error, do func(context.Context, *hsm.Token, func([]byte) error) error) error {
	var used error
	_, err := on(ctx, g, c, func(ctx context.Context, t *hsm.Token) (struct{}, error) {
		return struct{}{}, do(ctx, t, func(secret []byte) error {
			used = use(secret)
			return nil
		})
	})
	if err != nil {
		return err
	}
	return used
}

// Random is [hsm.Token.Random] on one token.
func (g *Group) Random(ctx context.Context, b []byte) error {
	_, err := on(ctx, g, call{name: "random"}, func(ctx context.Context, t *hsm.Token) (struct{}, error) { return struct{}{}, t.Random(ctx, b) })
	return err
}
