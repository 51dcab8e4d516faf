package emv

import (
	"crypto/subtle"
	"fmt"

	"github.com/tapvault/tapvault/internal/tdes"
)

// TreeSession is the session key of EMV 2000, by a tree of derivations, which
// was withdrawn: for cards that still have it and nothing new. Each level xors
// the key of two levels above, so no mechanism of an HSM does it; the caller
// zeroes both keys. height is 8 with a branch of 4, or 16 with 2.
func TreeSession(card *[16]byte, atc uint16, height, branch int, iv [16]byte) (key [16]byte, err error) {
	if (height != 8 || branch != 4) && (height != 16 || branch != 2) {
		return key, fmt.Errorf("%w: a tree of height %d and branch %d", ErrMalformed, height, branch)
	}
	levels := make([]int, height) // the way down to the counter's leaf
	for i, n := height-1, int(atc); i >= 0; i, n = i-1, n/branch {
		levels[i] = n % branch
	}
	above, parent := iv, *card
	for i, j := range levels {
		next, err := treeStep(&parent, &above, byte(j))
		if err != nil {
			return key, err
		}
		if i < height-1 {
			above, parent = parent, next
			continue
		}
		subtle.XORBytes(key[:], next[:], above[:])
	}
	clear(above[:])
	clear(parent[:])
	tdes.OddParity(key[:])
	return key, nil
}

// treeStep enciphers the key above, with the branch in its last bits, under the
// parent.
func treeStep(parent, above *[16]byte, j byte) (out [16]byte, err error) {
	b, err := tdes.New(parent[:])
	if err != nil {
		return out, err
	}
	out = *above
	out[7] ^= j
	out[15] ^= j ^ 0xF0
	b.Encrypt(out[:8], out[:8])
	b.Encrypt(out[8:], out[8:])
	return out, nil
}
