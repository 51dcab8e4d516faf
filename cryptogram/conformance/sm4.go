package conformance

import (
	"context"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// Software computes with SM4 keys in memory, for an HSM that cannot.
type Software interface {
	cryptogram.Keys
	ImportScratch(ctx context.Context, ref keyref.Ref, key []byte) error
	Forget(ctx context.Context, ref keyref.Ref) error
}

// WithSM4 returns a ring whose keys of SM4 are those of software. Its report
// says so.
func WithSM4(r Ring, s Software) Ring { return mixed{r, cryptogram.Split{SM4: s, Other: r}, s} }

// mixed gives each key to the ring that computes with it.
type mixed struct {
	Ring
	split cryptogram.Split
	sm4   Software
}

func (m mixed) ProcessMAC(ctx context.Context, p keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	return m.split.ProcessMAC(ctx, p, input, msgs...)
}

func (m mixed) FoldedMAC(ctx context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	return m.split.FoldedMAC(ctx, p, msg)
}

func (m mixed) RetailMAC(ctx context.Context, p keyref.Path, msg []byte) ([4]byte, error) {
	return m.split.RetailMAC(ctx, p, msg)
}

func (m mixed) ImportScratch(ctx context.Context, ref keyref.Ref, key []byte) error {
	if spec, _ := ref.Usage.Spec(); spec.Type == keyref.SM4 {
		return m.sm4.ImportScratch(ctx, ref, key)
	}
	return m.Ring.ImportScratch(ctx, ref, key)
}

func (m mixed) Forget(ctx context.Context, ref keyref.Ref) error {
	if spec, _ := ref.Usage.Spec(); spec.Type == keyref.SM4 {
		return m.sm4.Forget(ctx, ref)
	}
	return m.Ring.Forget(ctx, ref)
}

// note says what a pass of a function does not show. No card's own numbers of
// SM4 are public: those of the file come from formulas.
func note(r Ring, sm4 bool) string {
	switch _, soft := r.(mixed); {
	case !sm4:
		return ""
	case soft:
		return "computed in memory, not in the HSM; its numbers come from formulas, not from cards"
	}
	return "its numbers come from formulas, not from cards"
}
