// Package ff1 permutes strings of numerals with FF1 of NIST SP 800-38G: the
// same length and alphabet come out, and every output has exactly one input.
package ff1

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// MinDomain is how many strings of a length there must be; over fewer the
// permutation can be guessed.
const MinDomain = 1_000_000

// Errors. They never repeat the text.
var (
	ErrDomain  = errors.New("ff1: fewer than a million strings of this length")
	ErrNumeral = errors.New("ff1: a character outside the alphabet")
)

const (
	rounds    = 10
	maxLength = 4096 // far over any use, and bounds the work
	alphabet  = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// Cipher is FF1 under one key and radix. It is safe for concurrent use.
type Cipher struct {
	block cipher.Block
	radix int
}

// New returns FF1 over the first radix (2 to 36) characters of 0-9a-z under an
// AES key of 16, 24 or 32 bytes.
func New(key []byte, radix int) (*Cipher, error) {
	if radix < 2 || radix > len(alphabet) {
		return nil, fmt.Errorf("ff1: radix %d is not between 2 and %d", radix, len(alphabet))
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("ff1: %w", err)
	}
	return &Cipher{b, radix}, nil
}

// Encrypt permutes x. The tweak is not secret; another tweak is another
// permutation.
func (c *Cipher) Encrypt(tweak []byte, x string) (string, error) { return c.crypt(tweak, x, false) }

// Decrypt is the inverse of Encrypt.
func (c *Cipher) Decrypt(tweak []byte, x string) (string, error) { return c.crypt(tweak, x, true) }

func (c *Cipher) crypt(tweak []byte, x string, inverse bool) (string, error) {
	if err := c.check(x); err != nil {
		return "", err
	}
	u := len(x) / 2
	v := len(x) - u
	if m, ok := pow64(uint64(c.radix), v); ok {
		return c.crypt64(newRound(c, tweak, u, v, bytesFor64(m)), x, inverse), nil
	}
	m := new(big.Int).Exp(big.NewInt(int64(c.radix)), big.NewInt(int64(v)), nil)
	return c.cryptBig(newRound(c, tweak, u, v, bytesForBig(m)), x, m, inverse), nil
}

// check refuses text that is not in the domain.
func (c *Cipher) check(x string) error {
	if len(x) > maxLength {
		return fmt.Errorf("%w: longer than %d", ErrNumeral, maxLength)
	}
	domain := 1
	for i := range len(x) {
		if digit(x[i]) >= c.radix {
			return ErrNumeral
		}
		domain = min(domain*c.radix, MinDomain)
	}
	if domain < MinDomain {
		return ErrDomain
	}
	return nil
}

// digit returns the value of a numeral, or a value over every radix.
func digit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'z':
		return int(b-'a') + 10
	}
	return len(alphabet)
}

// cryptBig is FF1 over halves of any length.
func (c *Cipher) cryptBig(r *round, x string, modV *big.Int, inverse bool) string {
	radix := big.NewInt(int64(c.radix))
	modU := modV
	if r.u != r.v {
		modU = new(big.Int).Quo(modV, radix)
	}
	a, b := new(big.Int), new(big.Int)
	a.SetString(x[:r.u], c.radix)
	b.SetString(x[r.u:], c.radix)
	mods := [2]*big.Int{modU, modV} // by parity of the round
	y := new(big.Int)
	for k := range rounds {
		i := k
		if inverse {
			i = rounds - 1 - k
			a, b = b, a
		}
		b.FillBytes(r.numB())
		y.SetBytes(r.prf(i))
		if inverse {
			y.Neg(y)
		}
		a.Add(a, y).Mod(a, mods[i%2])
		if !inverse {
			a, b = b, a
		}
	}
	return pad(a.Text(c.radix), r.u) + pad(b.Text(c.radix), r.v)
}

func pad(s string, n int) string {
	p := make([]byte, 0, n)
	for len(p) < n-len(s) {
		p = append(p, '0')
	}
	return string(append(p, s...))
}

// bytesForBig is the standard's b: how many bytes hold every value under m.
func bytesForBig(m *big.Int) int {
	return (new(big.Int).Sub(m, big.NewInt(1)).BitLen() + 7) / 8
}

// round computes the round function. Of its input only the round number and
// the value of one half change from round to round.
type round struct {
	u, v, b int
	block   cipher.Block
	start   [16]byte // CBC-MAC of P and the whole blocks of the tweak
	tail    []byte   // the rest of Q: tweak, zeros, round number, half
	out     []byte   // S
	s       int      // its length, the standard's d
}

func newRound(c *Cipher, tweak []byte, u, v, b int) *round {
	r := &round{u: u, v: v, b: b, block: c.block, s: 4*((b+3)/4) + 4}
	p := [16]byte{1, 2, 1, 0, 0, byte(c.radix), rounds, byte(u)}
	binary.BigEndian.PutUint32(p[8:], uint32(u+v))
	binary.BigEndian.PutUint32(p[12:], uint32(len(tweak)))
	r.block.Encrypt(r.start[:], p[:])
	for ; len(tweak) >= 16; tweak = tweak[16:] {
		r.chain(&r.start, tweak[:16])
	}
	r.tail = make([]byte, (len(tweak)+1+b+15)/16*16)
	copy(r.tail, tweak)
	r.out = make([]byte, 0, r.s+16)
	return r
}

// numB is where the value of the half goes before prf.
func (r *round) numB() []byte { return r.tail[len(r.tail)-r.b:] }

// chain is one step of CBC-MAC.
func (r *round) chain(mac *[16]byte, block []byte) {
	for i := range mac {
		mac[i] ^= block[i]
	}
	r.block.Encrypt(mac[:], mac[:])
}

// prf returns S for round i; it is good until the next call.
func (r *round) prf(i int) []byte {
	r.tail[len(r.tail)-r.b-1] = byte(i)
	mac := r.start
	for t := r.tail; len(t) > 0; t = t[16:] {
		r.chain(&mac, t[:16])
	}
	r.out = append(r.out[:0], mac[:]...)
	for j := uint64(1); len(r.out) < r.s; j++ {
		next := mac
		binary.BigEndian.PutUint64(next[8:], binary.BigEndian.Uint64(mac[8:])^j)
		r.block.Encrypt(next[:], next[:])
		r.out = append(r.out, next[:]...)
	}
	return r.out[:r.s]
}
