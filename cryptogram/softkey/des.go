package softkey

// Keys are handed on by pointers: the trace of a crash prints what a function is
// handed, and a pointer shows where the key was.

import (
	"crypto/cipher"
	"crypto/des" //nolint:gosec // two-key 3DES is what the cards in the field compute
)

// twoKey returns two-key EDE under L‖R‖L. Key parity is ignored, as cards do.
func twoKey(k *[16]byte) cipher.Block {
	var three [24]byte
	copy(three[:], k[:])
	copy(three[16:], k[:8])
	defer clear(three[:])
	return must(des.NewTripleDESCipher(three[:]))
}

// must unwraps a cipher whose key has the right length by its type.
func must(b cipher.Block, err error) cipher.Block {
	if err != nil {
		panic(err)
	}
	return b
}

func encipher(k *[16]byte, block [8]byte) (out [8]byte) {
	twoKey(k).Encrypt(out[:], block[:])
	return out
}

// diversify returns 3DES-E(k, f) ‖ 3DES-E(k, ~f).
func diversify(k *[16]byte, f [8]byte) (out [16]byte) {
	c := twoKey(k)
	c.Encrypt(out[:8], f[:])
	for i := range f {
		f[i] = ^f[i]
	}
	c.Encrypt(out[8:], f[:])
	return out
}

// fold returns left xor right.
func fold(k *[16]byte) (f [8]byte) {
	for i := range f {
		f[i] = k[i] ^ k[8+i]
	}
	return f
}

// pad appends 80 and then zeros up to a multiple of 8.
func pad(msg []byte) []byte {
	p := make([]byte, len(msg)/8*8+8)
	copy(p, msg)
	p[len(msg)] = 0x80
	return p
}

// chain is DES-CBC under k over whole blocks, with a zero start; it returns
// the last block.
func chain(k *[8]byte, padded []byte) (c [8]byte) {
	b := must(des.NewCipher(k[:]))
	for ; len(padded) > 0; padded = padded[8:] {
		for i := range c {
			c[i] ^= padded[i]
		}
		b.Encrypt(c[:], c[:])
	}
	return c
}

// cbcMAC is the left half of the last block.
func cbcMAC(k *[8]byte, msg []byte) [4]byte {
	c := chain(k, pad(msg))
	return [4]byte(c[:4])
}

// retailMAC chains under the left half and deciphers and enciphers the last
// block under right and left.
func retailMAC(k *[16]byte, msg []byte) [4]byte {
	c := chain((*[8]byte)(k[:8]), pad(msg))
	must(des.NewCipher(k[8:])).Decrypt(c[:], c[:])
	must(des.NewCipher(k[:8])).Encrypt(c[:], c[:])
	return [4]byte(c[:4])
}
