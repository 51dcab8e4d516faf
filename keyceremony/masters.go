package keyceremony

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/internal/tdes"
	"github.com/tapvault/tapvault/keyceremony/keyblock"
)

// components is how many random parts a shared master is combined from: in a
// full ceremony each belongs to another officer.
const components = 3

// masters draws the shared masters of one ceremony. It remembers those that it drew, by
// digest, so that no two are equal.
type masters struct {
	rand io.Reader
	seen map[[32]byte]bool
}

// draw draws the components of a 16-byte master and combines them. A component or a
// master that is weak says that the source of randomness is broken, so it is [ErrWeak]
// and not drawn again. The caller zeroes the key.
func (m *masters) draw() (key []byte, err error) {
	parts := make([][]byte, components)
	for i := range parts {
		parts[i] = make([]byte, 16)
		defer clear(parts[i])
		if _, err := io.ReadFull(m.rand, parts[i]); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
	}
	if key, err = keyblock.Xor(parts...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWeak, err)
	}
	if why := m.weakness(key); why != "" {
		clear(key)
		return nil, fmt.Errorf("%w: %s", ErrWeak, why)
	}
	return key, nil
}

// weakness says why a master is not worth its length, or "", and remembers it.
func (m *masters) weakness(key []byte) string {
	if why := tdes.Weakness(key); why != "" {
		return why
	}
	sum := sha256.Sum256(evenless(key))
	if m.seen[sum] {
		return "it equals another master of this ceremony"
	}
	if m.seen == nil {
		m.seen = map[[32]byte]bool{}
	}
	m.seen[sum] = true
	return ""
}

// evenless returns the key without its parity bits, which DES does not use.
func evenless(key []byte) []byte {
	out := make([]byte, len(key))
	for i, b := range key {
		out[i] = b &^ 1
	}
	return out
}
