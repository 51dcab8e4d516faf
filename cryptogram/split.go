package cryptogram

import (
	"context"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Split is [Keys] over two key rings: one holds the SM4 keys, the other all others. The
// usage of a call's key says which of them it goes to.
type Split struct{ SM4, Other Keys }

func (s Split) of(p keyref.Path) Keys {
	if spec, _ := p.Key.Usage.Spec(); spec.Type == keyref.SM4 {
		return s.SM4
	}
	return s.Other
}

// ProcessMAC implements [Keys].
func (s Split) ProcessMAC(ctx context.Context, p keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	return s.of(p).ProcessMAC(ctx, p, input, msgs...)
}

// FoldedMAC implements [Keys].
func (s Split) FoldedMAC(ctx context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	return s.of(p).FoldedMAC(ctx, p, msg)
}

// RetailMAC implements [Keys].
func (s Split) RetailMAC(ctx context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	return s.of(p).RetailMAC(ctx, p, msg)
}
