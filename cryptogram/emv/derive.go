package emv

import (
	"crypto/sha1" //nolint:gosec // EMV's option B hashes with it; nothing rests on collisions
	"encoding/binary"
	"fmt"
)

// MasterRule says how the key of one card is made of the issuer's.
type MasterRule string

// Rules for a card's key (EMV Book 2, A1.4). Each takes the card number followed by
// the two digits of its sequence number.
const (
	// OptionA enciphers the rightmost 16 digits, and their complement (A1.4.1).
	OptionA MasterRule = "a"
	// OptionB is option A for numbers of up to 16 digits; longer ones are hashed by
	// SHA-1, and 16 decimal digits of the hash take their place (A1.4.2).
	OptionB MasterRule = "b"
	// OptionBHash hashes every number. Some hosts do so for dCVV and CVC3.
	OptionBHash MasterRule = "b-hash"
	// OptionC enciphers 32 digits under AES, for keys of 128, 192 or 256 bits (A1.4.3).
	OptionC128 MasterRule = "c-128"
	OptionC192 MasterRule = "c-192"
	OptionC256 MasterRule = "c-256"
)

// keySize is 0 for Triple DES.
func (r MasterRule) keySize() int {
	return map[MasterRule]int{OptionC128: 16, OptionC192: 24, OptionC256: 32}[r]
}

// AES reports whether r makes AES keys.
func (r MasterRule) AES() bool { return r.keySize() > 0 }

// Valid reports whether r is one of the rules.
func (r MasterRule) Valid() bool { return r == OptionA || r == OptionB || r == OptionBHash || r.AES() }

// Step returns the blocks that are enciphered under the issuer's key to give the
// card's: 16 bytes, or 32 for AES keys longer than a block.
func (r MasterRule) Step(c Card) ([]byte, error) {
	pan, _ := c.number()
	switch {
	case pan == "" || !r.Valid():
		return nil, fmt.Errorf("%w: no card, or no rule for its key", ErrMalformed)
	case r == OptionC128:
		return c.right(32), nil
	case r.AES():
		return complemented(c.right(32)), nil
	case r == OptionBHash, r == OptionB && len(pan) > 16:
		return complemented(c.hashed()), nil
	}
	return complemented(c.right(16)), nil
}

// hashed is the first 16 decimal digits of the card's digest.
func (c Card) hashed() []byte {
	_, sum := c.Digest()
	return bcd(decimals(sum[:], 16))
}

// Digest returns what option B hashes, as BCD, and its SHA-1: the number followed by
// the sequence number, with a zero in front when the count of digits is odd.
func (c Card) Digest() (hashed []byte, sum [20]byte) {
	pan, psn := c.number()
	s := pan + psn
	if len(s)%2 == 1 {
		s = "0" + s
	}
	hashed = bcd(s)
	return hashed, sha1.Sum(hashed) //nolint:gosec // see the import
}

func complemented(y []byte) []byte {
	out := append(make([]byte, 0, 2*len(y)), y...)
	for _, b := range y {
		out = append(out, ^b)
	}
	return out
}

// SessionRule says how the key of one transaction is made of the card's.
type SessionRule string

// Rules for the session key of a transaction.
const (
	// SessionNone uses the card's key itself.
	SessionNone SessionRule = "none"
	// SessionCommon is EMV's common session key derivation (A1.3.1) from the ATC, tag
	// 9F36. The key can be made before the transaction, so phones use it.
	SessionCommon SessionRule = "csk"
	// SessionMChip is Mastercard's: it takes the terminal's unpredictable number, tag
	// 9F37, as well.
	SessionMChip SessionRule = "mchip"
	// SessionLimited makes a key for an hour and a count within it. The index
	// of [LUKIndex] travels in the data as "LUK".
	SessionLimited SessionRule = "luk"
)

// Valid reports whether r is one of the rules.
func (r SessionRule) Valid() bool {
	return r == SessionNone || r == SessionCommon || r == SessionMChip || r == SessionLimited
}

// Step returns the blocks that are enciphered under a card's key to give the session
// key; ok is false for [SessionNone]. size is the length of an AES key in bytes, 0 for
// Triple DES. A tag that is missing or of another length is a [FieldError].
func (r SessionRule) Step(size int, d Data) (step []byte, ok bool, err error) {
	if r == SessionNone {
		return nil, false, nil
	}
	if r == SessionLimited {
		step, err = lukStep(d["LUK"])
		return step, true, err
	}
	seed := make([]byte, 8)
	if size > 0 {
		seed = make([]byte, 16)
	}
	if copy(seed, d["9F36"]) != 2 || len(d["9F36"]) != 2 {
		return nil, false, &FieldError{"9F36", "have 2 bytes"}
	}
	if r == SessionMChip {
		if copy(seed[4:], d["9F37"]) != 4 || len(d["9F37"]) != 4 {
			return nil, false, &FieldError{"9F37", "have 4 bytes"}
		}
	}
	return CommonStep(seed, size), true, nil
}

// CommonStep returns the blocks of the common session key derivation (A1.3.1) from a
// seed of 8 bytes, or of 16 for AES: the seed with its third byte set to F0, then
// to 0F. An AES key of one block is made of the seed as it is.
func CommonStep(seed []byte, size int) []byte {
	if size == 16 {
		return append([]byte{}, seed...)
	}
	out := append(append(make([]byte, 0, 2*len(seed)), seed...), seed...)
	out[2], out[len(seed)+2] = 0xF0, 0x0F
	return out
}

// ScriptStep returns the blocks that derive a session key for issuer scripts from the
// application cryptogram of the transaction (9.2, 9.3). command counts the commands of
// the script from 0: it is added to the cryptogram.
func ScriptStep(ac [8]byte, command uint16) []byte {
	seed := binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(ac[:])+uint64(command))
	return CommonStep(seed, 0)
}
