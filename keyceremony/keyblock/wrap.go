package keyblock

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/internal/mac"
)

// Opened is a key out of its block; Key is as long as the block said.
type Opened struct {
	Header  Header
	Key     []byte
	Padding []byte // what followed the key
}

// Clear zeroes the key.
func (o Opened) Clear() { clear(o.Key); clear(o.Padding) }

// Unwrap opens a block of version B or D under a protection key. Whatever is wrong with
// the block, the answer is [ErrRefused]; [ErrKey] says that kbpk is no protection key of
// the block's version. The caller clears what was opened.
func Unwrap(kbpk []byte, text string) (Opened, error) { return unwrap(kbpk, text, false) }

// UnwrapLegacy is [Unwrap] that also opens versions A and C. Their MAC has four
// bytes and says nothing about the clear key, so it is for moving old keys over
// and nothing else.
func UnwrapLegacy(kbpk []byte, text string) (Opened, error) { return unwrap(kbpk, text, true) }

func unwrap(kbpk []byte, text string, legacy bool) (Opened, error) {
	b, err := Parse(text)
	if err != nil || !formats[b.Header.Version].derived && !legacy {
		return Opened{}, ErrRefused
	}
	encipher, authenticate, err := Derive(b.Header.Version, kbpk)
	if err != nil {
		return Opened{}, err
	}
	defer clear(encipher)
	defer clear(authenticate)
	plain, err := b.open(encipher, authenticate)
	defer clear(plain)
	if err != nil {
		return Opened{}, ErrRefused
	}
	o, err := b.Header.split(plain)
	if err == nil && b.Header.Permitted() == nil {
		err = b.Header.checkKey(o.Key)
	} else {
		err = ErrRefused
	}
	if err != nil {
		o.Clear()
		return Opened{}, ErrRefused
	}
	return o, nil
}

// open deciphers the field and compares the MAC, in constant time. It returns
// the field only together with an error that says whether to believe it.
func (b Block) open(encipher, authenticate []byte) (plain []byte, err error) {
	head := b.header()
	c, err := newCipher(b.Header.Version, encipher)
	if err != nil {
		return nil, err
	}
	plain = make([]byte, len(b.Field))
	cipher.NewCBCDecrypter(c, b.iv(head)).CryptBlocks(plain, b.Field)
	want, err := b.authentication(authenticate, head, plain)
	if err == nil && subtle.ConstantTimeCompare(want, b.MAC) != 1 {
		err = ErrRefused
	}
	return plain, err
}

// header is the text that the MAC covers.
func (b Block) header() string {
	return b.Header.print(2 * (len(b.Field) + formats[b.Header.Version].mac))
}

func (b Block) iv(head string) []byte {
	if formats[b.Header.Version].derived {
		return b.MAC
	}
	return []byte(head[:8])
}

// authentication is the MAC that b should have. Of the field, new versions
// take the clear form and old ones the enciphered.
func (b Block) authentication(key []byte, head string, plain []byte) ([]byte, error) {
	c, err := newCipher(b.Header.Version, key)
	if err != nil {
		return nil, err
	}
	f := formats[b.Header.Version]
	if !f.derived {
		return mac.CBC(c, append([]byte(head), b.Field...))[:f.mac], nil
	}
	msg := append([]byte(head), plain...)
	defer clear(msg)
	return mac.CMAC(c, msg), nil
}

// split takes the clear field apart: a length in bits, the key, padding.
func (h Header) split(plain []byte) (Opened, error) {
	bits := int(binary.BigEndian.Uint16(plain))
	n := bits / 8
	if bits%8 != 0 || 2+n > len(plain) || !h.Algorithm.keyLength(n) {
		return Opened{}, ErrRefused
	}
	return Opened{Header: h, Key: append([]byte{}, plain[2:2+n]...), Padding: append([]byte{}, plain[2+n:]...)}, nil
}

// Wrap puts a key into a block of version B or D under a protection key.
// Padding, which also hides how long the key is among those of its algorithm,
// is read from random: a fixed reader gives a fixed block.
func Wrap(random io.Reader, kbpk []byte, h Header, key []byte) (string, error) {
	if err := h.writable(key); err != nil {
		return "", err
	}
	padding := make([]byte, h.fieldLength(len(key))-2-len(key))
	defer clear(padding)
	if _, err := io.ReadFull(random, padding); err != nil {
		return "", fmt.Errorf("reading padding: %w", err)
	}
	return WrapPadded(kbpk, h, key, padding)
}

// WrapPadded is [Wrap] with padding that the caller chose, of any length that
// fills the blocks. It is for known answers: shorter padding tells how long the
// key is.
func WrapPadded(kbpk []byte, h Header, key, padding []byte) (string, error) {
	if err := h.writable(key); err != nil {
		return "", err
	}
	plain := make([]byte, 2, 2+len(key)+len(padding))
	binary.BigEndian.PutUint16(plain, uint16(len(key)*8))
	plain = append(append(plain, key...), padding...)
	defer clear(plain)
	if len(plain)%formats[h.Version].block != 0 {
		return "", fmt.Errorf("%w: %d bytes of padding do not fill the blocks", ErrMalformed, len(padding))
	}
	encipher, authenticate, err := Derive(h.Version, kbpk)
	if err != nil {
		return "", err
	}
	defer clear(encipher)
	defer clear(authenticate)
	b := Block{Header: h.padded(), Field: make([]byte, len(plain))}
	if b.MAC, err = b.authentication(authenticate, b.header(), plain); err != nil {
		return "", err
	}
	c, err := newCipher(h.Version, encipher)
	if err != nil {
		return "", err
	}
	cipher.NewCBCEncrypter(c, b.MAC).CryptBlocks(b.Field, plain)
	text := b.String()
	if _, err := Parse(text); err != nil { // too long, or padding that does not fit
		return "", err
	}
	return text, nil
}

// writable reports whether a block may be made of h and key.
func (h Header) writable(key []byte) error {
	if f, ok := formats[h.Version]; !ok || !f.derived {
		return fmt.Errorf("%w: only versions B and D are written", ErrForbidden)
	}
	if err := h.letters(); err != nil {
		return err
	}
	for _, o := range h.Optional {
		if err := o.valid(); err != nil {
			return err
		}
	}
	if err := h.Permitted(); err != nil {
		return err
	}
	if len(h.Optional) >= maxBlocks || !h.Algorithm.keyLength(len(key)) {
		return fmt.Errorf("%w: a key of %d bytes under %d optional blocks", ErrKey, len(key), len(h.Optional))
	}
	if h.checkKey(key) != nil {
		return fmt.Errorf("%w: it does not have the check value in its header", ErrKey)
	}
	return h.order()
}

// fieldLength is that of length, key and padding: as for the longest key of
// the algorithm.
func (h Header) fieldLength(key int) int {
	switch h.Algorithm {
	case TDES:
		key = 24
	case AES:
		key = 32
	}
	block := formats[h.Version].block
	return (2 + key + block - 1) / block * block
}
