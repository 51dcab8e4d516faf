package keyref

import (
	"fmt"
)

// Steps returns what p enciphers at each level under an SM4 key, whose block is
// a key: the factor and its complement.
func (p Path) Steps() (steps [][]byte) {
	for _, f := range p.Factors[:p.Levels] {
		steps = append(steps, f.Block())
	}
	return steps
}

// Block returns f and its complement.
func (f Factor) Block() []byte {
	b := append(make([]byte, 0, 16), f[:]...)
	for _, x := range f {
		b = append(b, ^x)
	}
	return b
}

// CheckSM4 reports whether p can lead to a key that makes process keys, or else
// one that makes TACs.
func (p Path) CheckSM4(process bool) error {
	fits := p.Levels <= MaxLevels
	switch p.Key.Usage {
	case PurchaseMasterSM4, LoadMasterSM4, UnloadMasterSM4, OverdraftMasterSM4:
		fits = fits && process
	case TACMasterSM4:
		fits = fits && !process && p.Levels > 0
	case TACSM4:
		fits = !process && p.Levels == 0
	default:
		fits = false
	}
	if !fits {
		return fmt.Errorf("%w: %v: no such use at %d levels", ErrMalformed, p.Key, p.Levels)
	}
	return nil
}

// Factor is one diversification input, 8 bytes.
type Factor [8]byte

// MaxLevels is how deep a master may be diversified.
const MaxLevels = 3

// Path leads from a stored key through up to [MaxLevels] diversifications,
// root first. It is comparable, so it can be a map key.
type Path struct {
	Key     Ref
	Levels  uint8
	Factors [MaxLevels]Factor
}

// Path returns the path from r through the given factors, root first.
func (r Ref) Path(factors ...Factor) (Path, error) {
	if len(factors) > MaxLevels {
		return Path{}, fmt.Errorf("%w: %v: %d levels, at most %d", ErrMalformed, r, len(factors), MaxLevels)
	}
	p := Path{Key: r, Levels: uint8(len(factors))}
	copy(p.Factors[:], factors)
	return p, nil
}

// Append returns p one level deeper.
func (p Path) Append(f Factor) (Path, error) {
	if p.Levels >= MaxLevels {
		return Path{}, fmt.Errorf("%w: %v: more than %d levels", ErrMalformed, p.Key, MaxLevels)
	}
	p.Factors[p.Levels] = f
	p.Levels++
	return p, nil
}
