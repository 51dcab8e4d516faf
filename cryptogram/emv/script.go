package emv

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

// Script is one command that an issuer sends to a card (9.2).
type Script struct {
	Header [5]byte // CLA INS P1 P2 Lc
	ATC    [2]byte // of the transaction it is sent in
	AC     [8]byte // and that transaction's cryptogram
	Data   []byte  // enciphered, where it is secret
}

// message is what the MAC covers.
func (s Script) message() []byte {
	m := append(append(append([]byte{}, s.Header[:]...), s.ATC[:]...), s.AC[:]...)
	return append(m, s.Data...)
}

// MAC returns the 8-byte MAC of a script under a session key for integrity (9.2), by
// ISO/IEC 9797-1 algorithm 3 over header, ATC, cryptogram and data. Cards take its left
// 4 to 8 bytes.
func (s Script) MAC(ctx context.Context, k Keys, key keyref.Chain) ([8]byte, error) {
	m, err := k.MAC3(ctx, key, mac.Pad2(s.message(), 8))
	if err != nil {
		return m, fmt.Errorf("computing a script MAC: %w", err)
	}
	return m, nil
}

// Confidentiality says how the secret data of a script is enciphered.
type Confidentiality string

// Confidentiality rules.
const (
	ConfidentialVisa  Confidentiality = "visa"  // length in front, padding always, block by block
	ConfidentialMChip Confidentiality = "mchip" // padding when it does not fill blocks, chained
	ConfidentialEMV   Confidentiality = "emv"   // padding always, chained
)

const maxScript = 240 // an APDU's data without its MAC, and less

// Encipher enciphers the secret data of a script under a session key for
// confidentiality (9.3). The result is whole 8-byte blocks.
func (c Confidentiality) Encipher(ctx context.Context, k Keys, key keyref.Chain, data []byte) ([]byte, error) {
	padded, err := c.pad(data)
	if err != nil {
		return nil, err
	}
	defer clear(padded)
	out, err := k.EncipherBlocks(ctx, key, c != ConfidentialVisa, padded)
	if err != nil {
		return nil, fmt.Errorf("enciphering script data: %w", err)
	}
	return out, nil
}

func (c Confidentiality) pad(data []byte) ([]byte, error) {
	if len(data) == 0 || len(data) > maxScript {
		return nil, fmt.Errorf("%w: script data of %d bytes", ErrMalformed, len(data))
	}
	switch c {
	case ConfidentialVisa:
		return mac.Pad2(append([]byte{byte(len(data))}, data...), 8), nil
	case ConfidentialMChip:
		if len(data)%8 == 0 {
			return append([]byte{}, data...), nil
		}
		return mac.Pad2(data, 8), nil
	case ConfidentialEMV:
		return mac.Pad2(data, 8), nil
	}
	return nil, fmt.Errorf("%w: no such rule for script data", ErrMalformed)
}

// VisaSession returns the session key for scripts of Visa CVN 10 and 18, with odd parity:
// the card's key with the ATC xored into the last 2 bytes of its left half and the ATC's
// complement into those of its right half. No HSM mechanism xors a key with data, so this
// is done in memory: the caller zeroes both keys.
func VisaSession(card *[16]byte, atc [2]byte) (key [16]byte) {
	key = *card
	n := binary.BigEndian.Uint16(atc[:])
	for i, x := range []uint16{n, ^n} {
		key[8*i+6] ^= byte(x >> 8)
		key[8*i+7] ^= byte(x)
	}
	tdes.OddParity(key[:])
	return key
}

// PINBlockVIS returns the 8-byte block in which a Visa card gets a new PIN of 4 to 12
// digits: the PIN with its length, xor a part of the card's key for cryptograms, and
// xor the current PIN where that is given. The caller zeroes the key.
func PINBlockVIS(acKey *[16]byte, newPIN, currentPIN string) (b [8]byte, err error) {
	if b, err = pinBlock(newPIN, 0, 0xF); err != nil {
		return b, err
	}
	for i := range 4 {
		b[4+i] ^= acKey[4+i]
	}
	if currentPIN == "" {
		return b, nil
	}
	current, err := pinDigits(currentPIN)
	if err != nil {
		return [8]byte{}, err
	}
	for i, d := range current {
		b[i/2] ^= d << (4 * (1 - i%2))
	}
	return b, nil
}

// PINBlock2 returns an ISO 9564-1 format 2 block, in which other cards get a new PIN of
// 4 to 12 digits.
func PINBlock2(pin string) ([8]byte, error) { return pinBlock(pin, 0x20, 0xF) }

// pinBlock is a control nibble, the length, the digits and filler.
func pinBlock(pin string, control, filler byte) (b [8]byte, err error) {
	digits, err := pinDigits(pin)
	if err != nil {
		return b, err
	}
	for i := range b {
		b[i] = filler<<4 | filler
	}
	b[0] = control | byte(len(digits))
	for i, d := range digits {
		shift := 4 * (1 - i%2)
		b[1+i/2] = b[1+i/2]&^(0xF<<shift) | d<<shift
	}
	return b, nil
}

func pinDigits(pin string) ([]byte, error) {
	if len(pin) < 4 || len(pin) > 12 || !decimal(pin) {
		return nil, fmt.Errorf("%w: a PIN has 4 to 12 digits", ErrMalformed)
	}
	out := make([]byte, len(pin))
	for i := range out {
		out[i] = pin[i] - '0'
	}
	return out, nil
}
