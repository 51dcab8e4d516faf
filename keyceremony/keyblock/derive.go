package keyblock

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

// Derive returns the two keys of a protection key: one enciphers, the other
// authenticates. The caller zeroes both.
func Derive(v Version, kbpk []byte) (encipher, authenticate []byte, err error) {
	f, ok := formats[v]
	if !ok {
		return nil, nil, fmt.Errorf("%w: unknown version", ErrMalformed)
	}
	if !protects(v, len(kbpk)) {
		return nil, nil, fmt.Errorf("%w: a protection key of version %c does not have %d bytes", ErrKey, v, len(kbpk))
	}
	if !f.derived {
		return variant(kbpk, 0x45), variant(kbpk, 0x4D), nil
	}
	b, err := newCipher(v, kbpk)
	if err != nil {
		return nil, nil, err
	}
	return kdf(b, kbpk, 0), kdf(b, kbpk, 1), nil
}

func protects(v Version, n int) bool {
	return n == 16 || n == 24 || n == 32 && v == VersionD
}

func newCipher(v Version, key []byte) (cipher.Block, error) {
	if formats[v].block == aes.BlockSize {
		return aes.NewCipher(key)
	}
	return tdes.New(key)
}

// kdf concatenates the CMACs of a counter, the purpose, the algorithm and the
// length of the key, and cuts to that length.
func kdf(b cipher.Block, kbpk []byte, purpose byte) []byte {
	n := len(kbpk)
	algorithm := byte(n/8 - 2) // two- and three-key Triple DES: 0 and 1
	if b.BlockSize() == aes.BlockSize {
		algorithm = byte(n / 8) // AES: 2, 3 and 4
	}
	out := make([]byte, 0, n+b.BlockSize())
	for i := byte(1); len(out) < n; i++ {
		bits := n * 8
		out = append(out, mac.CMAC(b, []byte{i, 0, purpose, 0, 0, algorithm, byte(bits >> 8), byte(bits)})...)
	}
	clear(out[n:])
	return out[:n]
}

func variant(key []byte, x byte) []byte {
	out := make([]byte, len(key))
	for i, b := range key {
		out[i] = b ^ x
	}
	return out
}
