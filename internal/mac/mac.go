// Package mac computes the MACs of ISO/IEC 9797-1 and of SP 800-38B over block ciphers in memory.
package mac

import "crypto/cipher"

// CBC is algorithm 1: the last block of CBC encipherment from a zero start.
// padded is whole blocks, at least one.
func CBC(b cipher.Block, padded []byte) []byte {
	n := b.BlockSize()
	c := make([]byte, n)
	for ; len(padded) >= n; padded = padded[n:] {
		for i := range c {
			c[i] ^= padded[i]
		}
		b.Encrypt(c, c)
	}
	return c
}

// Retail is algorithm 3 (ANSI X9.19): CBC under the left half of a key, then
// the last block deciphered under the right and enciphered under the left.
func Retail(left, right cipher.Block, padded []byte) []byte {
	c := CBC(left, padded)
	right.Decrypt(c, c)
	left.Encrypt(c, c)
	return c
}

// CMAC is that of SP 800-38B. It pads by itself.
func CMAC(b cipher.Block, msg []byte) []byte {
	n := b.BlockSize()
	sub := make([]byte, n)
	b.Encrypt(sub, sub)
	double(sub)
	whole := len(msg) > 0 && len(msg)%n == 0
	padded := make([]byte, max(1, (len(msg)+n-1)/n)*n)
	defer clear(padded)
	copy(padded, msg)
	if !whole {
		padded[len(msg)] = 0x80
		double(sub)
	}
	last := padded[len(padded)-n:]
	for i := range last {
		last[i] ^= sub[i]
	}
	return CBC(b, padded)
}

// double multiplies by x in the field of the block, in constant time.
func double(s []byte) {
	reduce := byte(0x87) // blocks of 16 bytes
	if len(s) == 8 {
		reduce = 0x1B
	}
	carry := s[0] >> 7
	for i := range s {
		s[i] <<= 1
		if i+1 < len(s) {
			s[i] |= s[i+1] >> 7
		}
	}
	s[len(s)-1] ^= reduce & -carry
}

// Pad1 is padding method 1: zeros up to a block of n, and none if msg fills
// its blocks; an empty message becomes one block of zeros.
func Pad1(msg []byte, n int) []byte {
	p := make([]byte, max(1, (len(msg)+n-1)/n)*n)
	copy(p, msg)
	return p
}

// Pad2 is padding method 2: 80, then zeros up to a block of n.
func Pad2(msg []byte, n int) []byte {
	p := make([]byte, len(msg)/n*n+n)
	copy(p, msg)
	p[len(msg)] = 0x80
	return p
}
