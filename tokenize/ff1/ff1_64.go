package ff1

import (
	"encoding/binary"
	"math/bits"
)

// pow64 returns radix^n when a half of n numerals, and the sum of two, fit 64
// bits: decimal numbers of up to 36 digits do.
func pow64(radix uint64, n int) (uint64, bool) {
	m := uint64(1)
	for range n {
		hi, lo := bits.Mul64(m, radix)
		if hi != 0 || lo > 1<<63 {
			return 0, false
		}
		m = lo
	}
	return m, true
}

func bytesFor64(m uint64) int { return (bits.Len64(m-1) + 7) / 8 }

// crypt64 is FF1 over halves that fit 64 bits.
func (c *Cipher) crypt64(r *round, x string, inverse bool) string {
	modU, _ := pow64(uint64(c.radix), r.u)
	modV, _ := pow64(uint64(c.radix), r.v)
	mods := [2]uint64{modU, modV}
	a, b := c.parse64(x[:r.u]), c.parse64(x[r.u:])
	for k := range rounds {
		i := k
		if inverse {
			i = rounds - 1 - k
			a, b = b, a
		}
		put(r.numB(), b)
		m := mods[i%2]
		y := rem(r.prf(i), m)
		if inverse {
			y = (m - y) % m
		}
		a = (a + y) % m
		if !inverse {
			a, b = b, a
		}
	}
	out := make([]byte, len(x))
	c.print64(out[:r.u], a)
	c.print64(out[r.u:], b)
	return string(out)
}

func (c *Cipher) parse64(s string) (n uint64) {
	for i := range len(s) {
		n = n*uint64(c.radix) + uint64(digit(s[i]))
	}
	return n
}

func (c *Cipher) print64(out []byte, n uint64) {
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = alphabet[n%uint64(c.radix)]
		n /= uint64(c.radix)
	}
}

// put writes n big-endian into b, which is long enough.
func put(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte(n)
		n >>= 8
	}
}

// rem is the value of s, 8 or 12 bytes, modulo m.
func rem(s []byte, m uint64) uint64 {
	lo := binary.BigEndian.Uint64(s[len(s)-8:])
	hi := uint64(0)
	if len(s) == 12 {
		hi = uint64(binary.BigEndian.Uint32(s))
	}
	return bits.Rem64(hi, lo, m)
}
