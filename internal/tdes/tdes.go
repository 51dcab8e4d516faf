// Package tdes makes two- and three-key Triple DES ciphers of keys in memory, and knows their parity and their weak keys.
package tdes

import (
	"bytes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // Triple DES is what the cards and key blocks in the field compute
	"crypto/subtle"
	"errors"
	"math/bits"
)

// ErrLength reports a key that is not of 8, 16 or 24 bytes.
var ErrLength = errors.New("tdes: a key has 8, 16 or 24 bytes")

// BlockSize is that of DES.
const BlockSize = des.BlockSize

// New returns Triple DES under a key of 16 or 24 bytes, or single DES under 8.
// Parity is ignored, as every implementation does.
func New(key []byte) (cipher.Block, error) {
	var three [24]byte
	defer clear(three[:])
	switch len(key) {
	case 8:
		return des.NewCipher(key)
	case 16, 24:
		copy(three[:], key)
		copy(three[len(key):], key) // of 16 bytes: L‖R‖L
		return des.NewTripleDESCipher(three[:])
	}
	return nil, ErrLength
}

// OddParity sets the lowest bit of each byte so that it has an odd number of
// ones, in place.
func OddParity(key []byte) {
	for i, b := range key {
		key[i] = b&^1 | byte(1-bits.OnesCount8(b&^1)&1)
	}
}

// Weakness says why a key of 16 or 24 bytes is not worth its length, or "".
// Parity is left out of account.
func Weakness(key []byte) string {
	k := bytes.Clone(key)
	defer clear(k)
	OddParity(k)
	for i := 8; i < len(k); i += 8 {
		if subtle.ConstantTimeCompare(k[i:i+8], k[i-8:i]) == 1 {
			return "its halves are equal, which is single DES"
		}
	}
	for i := 0; i < len(k)/8*8; i += 8 {
		if isWeak(k[i : i+8]) {
			return "a half is a weak or semi-weak DES key"
		}
	}
	return ""
}

// isWeak looks at every weak key, whichever this one is.
func isWeak(k []byte) bool {
	found := 0
	for w := range weak {
		found |= subtle.ConstantTimeCompare(k, w[:])
	}
	return found == 1
}

// weak lists the four weak and twelve semi-weak keys of DES, with odd parity
// (FIPS 74, section 3.6).
var weak = map[[8]byte]bool{
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
