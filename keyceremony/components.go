package keyceremony

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/bits"
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
			if parts[k] == parts[i] {
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
	if why := weakness(key); why != "" {
		clear(key[:])
		return key, fmt.Errorf("%w: %s", ErrWeak, why)
	}
	sum := sha256.Sum256(evenless(key))
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

// weakness says what is wrong with a double-length DES key, or "".
func weakness(key [16]byte) string {
	l, r := [8]byte(evenless([16]byte(key))[:8]), [8]byte(evenless(key)[8:])
	switch {
	case l == r:
		return "its halves are equal, which is single DES"
	case weakDES[odd(l)] || weakDES[odd(r)]:
		return "a half is a weak or semi-weak DES key"
	}
	return ""
}

// evenless returns the key without its parity bits, which DES does not use.
func evenless(key [16]byte) []byte {
	out := make([]byte, 16)
	for i, b := range key {
		out[i] = b &^ 1
	}
	return out
}

// odd sets the parity bits of a half.
func odd(half [8]byte) [8]byte {
	for i, b := range half {
		half[i] = b&^1 | byte(1-bits.OnesCount8(b&^1)&1)
	}
	return half
}

// weakDES lists the four weak and twelve semi-weak keys of DES, with odd
// parity (FIPS 74, section 3.6).
var weakDES = map[[8]byte]bool{
	{0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01}: true,
	{0xFE, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE, 0xFE}: true,
	{0x1F, 0x1F, 0x1F, 0x1F, 0x0E, 0x0E, 0x0E, 0x0E}: true,
	{0xE0, 0xE0, 0xE0, 0xE0, 0xF1, 0xF1, 0xF1, 0xF1}: true,
	{0x01, 0xFE, 0x01, 0xFE, 0x01, 0xFE, 0x01, 0xFE}: true,
	{0xFE, 0x01, 0xFE, 0x01, 0xFE, 0x01, 0xFE, 0x01}: true,
	{0x1F, 0xE0, 0x1F, 0xE0, 0x0E, 0xF1, 0x0E, 0xF1}: true,
	{0xE0, 0x1F, 0xE0, 0x1F, 0xF1, 0x0E, 0xF1, 0x0E}: true,
	{0x01, 0xE0, 0x01, 0xE0, 0x01, 0xF1, 0x01, 0xF1}: true,
	{0xE0, 0x01, 0xE0, 0x01, 0xF1, 0x01, 0xF1, 0x01}: true,
	{0x1F, 0xFE, 0x1F, 0xFE, 0x0E, 0xFE, 0x0E, 0xFE}: true,
	{0xFE, 0x1F, 0xFE, 0x1F, 0xFE, 0x0E, 0xFE, 0x0E}: true,
	{0x01, 0x1F, 0x01, 0x1F, 0x01, 0x0E, 0x01, 0x0E}: true,
	{0x1F, 0x01, 0x1F, 0x01, 0x0E, 0x01, 0x0E, 0x01}: true,
	{0xE0, 0xFE, 0xE0, 0xFE, 0xF1, 0xFE, 0xF1, 0xFE}: true,
	{0xFE, 0xE0, 0xFE, 0xE0, 0xFE, 0xF1, 0xFE, 0xF1}: true,
}
