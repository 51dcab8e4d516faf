package cryptogram

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// TACMode says how a scheme applies the 16-byte TAC key of a card.
type TACMode string

// TAC modes.
const (
	// TACFold: single DES under left xor right. The PBOC way.
	TACFold TACMode = "fold"
	// TACDirect: ISO 9797-1 algorithm 3 under both halves.
	TACDirect TACMode = "direct"
	// TACRefuse: no TAC is computed. No standard mechanism xors the halves of a
	// key, so folding a card's key brings it into process memory for a moment;
	// a scheme can decline that.
	TACRefuse TACMode = "refuse"
)

// Valid reports whether m is a mode.
func (m TACMode) Valid() bool { return m == TACFold || m == TACDirect || m == TACRefuse }

// Receipted is a transaction that a card acknowledges with a TAC: [Purchase],
// [Load] or [Overdraft].
type Receipted interface {
	TACInput() []byte
	Validate() error
}

// TAC computes the transaction authentication code of a transaction under the
// TAC key that key leads to. An SM4 key is never folded: its halves xored would
// be no key of SM4. That it is used whole is an assumption; no source says.
func TAC(ctx context.Context, k Keys, key keyref.Path, m TACMode, t Receipted) (tac [4]byte, err error) {
	if spec, _ := key.Key.Usage.Spec(); spec.Type == keyref.SM4 && m == TACFold {
		m = TACDirect
	}
	switch m {
	case TACFold:
		tac, err = k.FoldedMAC(ctx, key, t.TACInput())
	case TACDirect:
		tac, err = k.RetailMAC(ctx, key, t.TACInput())
	default:
		err = ErrNoKey
	}
	if err != nil {
		return [4]byte{}, fmt.Errorf("computing TAC: %w", err)
	}
	return tac, nil
}
