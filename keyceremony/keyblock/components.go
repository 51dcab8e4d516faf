package keyblock

import (
	"bytes"
	"crypto/subtle"
	"fmt"

	"github.com/tapvault/tapvault/internal/tdes"
)

// Component is one full-length part of a key, held by one custodian.
type Component struct {
	Value []byte // as long as the key
	Check []byte // its own check value as the custodian's form says: 3 bytes, or 5 of AES
}

// Combine checks each of two or more components against its own check value, xors them
// and returns the key with its check value. A Triple DES key gets odd parity, which an
// even number of components takes away. What cannot have come from honest randomness is
// [ErrKey]: components that are zero or equal, and weak keys. The caller zeroes the key.
func Combine(a Algorithm, parts ...Component) (key []byte, check CheckValue, err error) {
	for i, p := range parts {
		c, err := Check(a, p.Value)
		if err != nil {
			return nil, check, fmt.Errorf("component %d: %w", i+1, err)
		}
		if !c.Matches(p.Check) {
			return nil, check, fmt.Errorf("%w: component %d does not have its check value", ErrKey, i+1)
		}
	}
	values := make([][]byte, len(parts))
	for i, p := range parts {
		values[i] = p.Value
	}
	if key, err = Xor(values...); err != nil {
		return nil, check, err
	}
	if why := weakness(a, key); why != "" {
		clear(key)
		return nil, check, fmt.Errorf("%w: %s", ErrKey, why)
	}
	if a == TDES {
		tdes.OddParity(key)
	}
	check, err = Check(a, key)
	return key, check, err
}

// Xor combines two or more components and leaves the parity as it comes.
func Xor(parts ...[]byte) ([]byte, error) {
	if len(parts) < 2 {
		return nil, fmt.Errorf("%w: two components at least", ErrKey)
	}
	key := make([]byte, len(parts[0]))
	for i, p := range parts {
		if err := plausible(p, parts[:i]); err != nil {
			clear(key)
			return nil, fmt.Errorf("component %d: %w", i+1, err)
		}
		if subtle.XORBytes(key, key, p) != len(key) {
			clear(key)
			return nil, fmt.Errorf("%w: components of different lengths", ErrKey)
		}
	}
	return key, nil
}

// plausible refuses a component that is zero, has another length or equals one
// before it.
func plausible(p []byte, before [][]byte) error {
	if subtle.ConstantTimeCompare(p, make([]byte, len(p))) == 1 {
		return fmt.Errorf("%w: it is zero", ErrKey)
	}
	for _, other := range before {
		if len(p) != len(other) {
			return fmt.Errorf("%w: components of different lengths", ErrKey)
		}
		if subtle.ConstantTimeCompare(p, other) == 1 {
			return fmt.Errorf("%w: two components are equal", ErrKey)
		}
	}
	return nil
}

// weakness says why the combined key is not worth its length, or "".
func weakness(a Algorithm, key []byte) string {
	if a == TDES {
		return tdes.Weakness(key)
	}
	if bytes.Count(key, key[:1]) == len(key) {
		return "all its bytes are equal"
	}
	return ""
}
