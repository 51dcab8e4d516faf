// Package treetest signs checkpoints in tests that are not about the HSM.
package treetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/tapvault/tapvault/audit/tree"
)

// NewKey returns a fresh key in memory.
func NewKey(t testing.TB) tree.Key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Key{Public: &k.PublicKey, Sign: func(_ context.Context, digest [32]byte) (out [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
		if err == nil {
			r.FillBytes(out[:32])
			s.FillBytes(out[32:])
		}
		return out, err
	}}
}
