package keyblock

import (
	"crypto/aes"
	"crypto/subtle"
	"fmt"

	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

// Method is how a check value is computed. The numbers are those of the
// optional block KC.
type Method byte

// Methods.
const (
	ECB  Method = 0 // a block of zeros enciphered, cut to 3 bytes; of AES keys only where an old system shows it
	CMAC Method = 1 // the CMAC of a block of zeros, cut to 5 bytes (X9.24)
)

// CheckValue lets people see that two keys are equal. PKCS #11 calls the first
// three bytes of the ECB kind CKA_CHECK_VALUE for AES as well, so a value is
// never shown without its kind.
type CheckValue struct {
	Method Method
	Legacy bool // the ECB kind of an AES key
	value  [5]byte
	n      int
}

// Bytes returns the value: 3 bytes of the ECB kind, 5 of the CMAC kind.
func (c CheckValue) Bytes() []byte { return c.value[:c.n] }

// String prints the value, and its kind where it could be taken for another.
func (c CheckValue) String() string {
	s := fmt.Sprintf("%X", c.Bytes())
	if c.Legacy {
		s += " (legacy, ECB)"
	}
	return s
}

// Matches compares with a value that may be cut to 3 bytes, as consoles do.
func (c CheckValue) Matches(value []byte) bool {
	return len(value) >= 3 && len(value) <= c.n && subtle.ConstantTimeCompare(c.value[:len(value)], value) == 1
}

// Check returns the check value of a key: the ECB kind for DES and Triple DES,
// the CMAC kind for AES.
func Check(a Algorithm, key []byte) (CheckValue, error) {
	if !a.keyLength(len(key)) {
		return CheckValue{}, fmt.Errorf("%w: no check value of %d bytes", ErrKey, len(key))
	}
	switch a {
	case DES, TDES:
		b, err := tdes.New(key)
		if err != nil {
			return CheckValue{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		return cut(ECB, false, mac.CBC(b, make([]byte, 8)), 3), nil
	case AES:
		b, err := aes.NewCipher(key)
		if err != nil {
			return CheckValue{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		return cut(CMAC, false, mac.CMAC(b, make([]byte, 16)), 5), nil
	}
	return CheckValue{}, fmt.Errorf("%w: no check value is defined for this algorithm", ErrKey)
}

// LegacyCheck returns the ECB kind for an AES key.
func LegacyCheck(key []byte) (CheckValue, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return CheckValue{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return cut(ECB, true, mac.CBC(b, make([]byte, 16)), 3), nil
}

func cut(m Method, legacy bool, full []byte, n int) (c CheckValue) {
	defer clear(full)
	c.Method, c.Legacy, c.n = m, legacy, n
	copy(c.value[:n], full)
	return c
}
