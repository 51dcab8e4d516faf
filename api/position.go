package api

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
)

// positions prints places in the list of events, sealed. There is one list for all
// requestors: whoever could read two of its own places would know how much happened to
// others between them, and whoever could make one up would find where the list ends.
//
// A place is one block of AES, half of it a mark, under a key that all processes make: it
// is the same wherever and whenever it is told.
type positions struct{ block cipher.Block }

// A cursor is a letter and the block, in letters and digits.
const (
	cursorLetter = "p"
	cursorMark   = uint64(0x7461707661756C74)
)

var cursorText = base32.StdEncoding.WithPadding(base32.NoPadding)

// newPositions makes the key from secret, which has 32 bytes or more.
func newPositions(secret []byte) (positions, error) {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("places in the list of events"))
	block, err := aes.NewCipher(m.Sum(nil))
	if err != nil {
		return positions{}, fmt.Errorf("making the key of cursors: %w", err)
	}
	return positions{block}, nil
}

func (p positions) format(at int64) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:8], cursorMark)
	binary.BigEndian.PutUint64(b[8:], uint64(at))
	p.block.Encrypt(b[:], b[:])
	return cursorLetter + cursorText.EncodeToString(b[:])
}

// parse is the inverse of format; "" is the beginning.
func (p positions) parse(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(s, cursorLetter)
	b, err := cursorText.DecodeString(text)
	if !ok || err != nil || len(b) != aes.BlockSize {
		return 0, badCursor()
	}
	p.block.Decrypt(b, b)
	at := int64(binary.BigEndian.Uint64(b[8:]))
	if at < 0 || p.format(at) != s { // another mark, or another spelling
		return 0, badCursor()
	}
	return at, nil
}
