// Package shamir splits a secret among people so that any m of n can put it together and fewer learn nothing.
//
// Each byte is the constant of a random polynomial of degree m-1 over GF(256)
// with the polynomial of AES; a share is one value of it per byte, at a number
// from 1. Nothing here depends on a table indexed by secrets.
package shamir

import (
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/internal/fault"
)

// ErrShares reports shares that cannot belong together, or numbers of people
// that make no sense.
var ErrShares = fault.New(fault.Malformed, "the shares cannot be put together")

// Share is what one person holds. The caller zeroes Value.
type Share struct {
	Number byte // from 1
	Value  []byte
}

// Split makes n shares of secret, any m of which give it back.
func Split(random io.Reader, secret []byte, m, n int) ([]Share, error) {
	if m < 2 || n < m || n > 255 || len(secret) == 0 {
		return nil, fmt.Errorf("%w: %d of %d people", ErrShares, m, n)
	}
	factors := make([]byte, m)
	defer clear(factors)
	shares := make([]Share, n)
	for i := range shares {
		shares[i] = Share{byte(i + 1), make([]byte, len(secret))}
	}
	for k, b := range secret {
		factors[0] = b
		if _, err := io.ReadFull(random, factors[1:]); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
		for i := range shares {
			y := byte(0)
			for f := m - 1; f >= 0; f-- {
				y = mul(y, shares[i].Number) ^ factors[f]
			}
			shares[i].Value[k] = y
		}
	}
	return shares, nil
}

// Combine puts m shares together. With a wrong share, or one too few, it gives
// a wrong secret: whoever asks has to prove it by a check value.
func Combine(shares ...Share) ([]byte, error) {
	if len(shares) < 2 {
		return nil, fmt.Errorf("%w: two at least", ErrShares)
	}
	for i, s := range shares {
		if s.Number == 0 || len(s.Value) == 0 || len(s.Value) != len(shares[0].Value) {
			return nil, fmt.Errorf("%w: they differ in length, or one has no number", ErrShares)
		}
		for _, other := range shares[:i] {
			if s.Number == other.Number {
				return nil, fmt.Errorf("%w: share %d is there twice", ErrShares, s.Number)
			}
		}
	}
	secret := make([]byte, len(shares[0].Value))
	for i, s := range shares {
		w := byte(1) // its weight at zero
		for k, other := range shares {
			if k != i {
				w = mul(w, mul(other.Number, inverse(other.Number^s.Number)))
			}
		}
		for b := range secret {
			secret[b] ^= mul(w, s.Value[b])
		}
	}
	return secret, nil
}

// mul multiplies in GF(256) without a branch on what it multiplies.
func mul(a, b byte) (p byte) {
	for range 8 {
		p ^= a & -(b & 1)
		a = a<<1 ^ 0x1b&-(a>>7)
		b >>= 1
	}
	return p
}

// inverse is a to the 254th.
func inverse(a byte) byte {
	r := byte(1)
	for range 254 {
		r = mul(r, a)
	}
	return byte(subtle.ConstantTimeSelect(subtle.ConstantTimeByteEq(a, 0), 0, int(r)))
}
