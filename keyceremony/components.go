package keyceremony

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/internal/tdes"
)

// components is how many random parts a shared master is combined from: in a
// full ceremony each belongs to another officer.
const components = 3

// combined remembers the masters of one ceremony, by digest, so that no two
// are equal.
type combined map[[32]byte]bool

// combine draws the components of a master and xors them. A component or
// result that is weak says that the source of randomness is broken, so it is
// an error and not drawn again.
func combine(random io.Reader, seen *combined) (key [16]byte, err error) {
	var parts [components][16]byte
	defer clear(parts[:])
	for i := range parts {
		if _, err := io.ReadFull(random, parts[i][:]); err != nil {
			return key, fmt.Errorf("reading randomness: %w", err)
		}
		for k := range i {
			if subtle.ConstantTimeCompare(parts[k][:], parts[i][:]) == 1 {
				return [16]byte{}, fmt.Errorf("%w: two components are equal", ErrWeak)
			}
		}
		if parts[i] == ([16]byte{}) {
			return [16]byte{}, fmt.Errorf("%w: a component is zero", ErrWeak)
		}
		for k, b := range parts[i] {
			key[k] ^= b
		}
	}
	if why := tdes.Weakness(key[:]); why != "" {
		clear(key[:])
		return key, fmt.Errorf("%w: %s", ErrWeak, why)
	}
	sum := sha256.Sum256(evenless(&key))
	if (*seen)[sum] {
		clear(key[:])
		return key, fmt.Errorf("%w: it equals another master of this ceremony", ErrWeak)
	}
	if *seen == nil {
		*seen = combined{}
	}
	(*seen)[sum] = true
	return key, nil
}

// evenless returns the key without its parity bits, which DES does not use.
func evenless(key *[16]byte) []byte {
	out := make([]byte, 16)
	for i, b := range key {
		out[i] = b &^ 1
	}
	return out
}
