package emv

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// AC returns the 8-byte application cryptogram, tag 9F26, of a transaction with card
// c: ARQC, TC and AAC are computed alike (8.1.2). master is the issuer's key.
func (p Profile) AC(ctx context.Context, k Keys, master keyref.Ref, c Card, d Data) (ac [8]byte, err error) {
	card, err := p.Card(master, c)
	if err != nil {
		return ac, err
	}
	key, err := p.Transaction(card, d)
	if err != nil {
		return ac, err
	}
	msg, err := p.Input(d)
	if err != nil {
		return ac, err
	}
	return Cryptogram(ctx, k, key, p.Padding, msg)
}

// Transaction is one as the card's issuer sees it.
type Transaction struct {
	Card Card
	Data Data    // what the cryptogram covers, and what its key is derived from
	AC   [8]byte // application cryptogram, tag 9F26, that the card made
}

// Verify compares, in constant time, the cryptogram that a card made with the one it
// should have made. master is the issuer's key. [ErrMismatch] says that they differ.
func (p Profile) Verify(ctx context.Context, k Keys, master keyref.Ref, t Transaction) error {
	want, err := p.AC(ctx, k, master, t.Card, t.Data)
	if err != nil {
		return err
	}
	return match(want[:], t.AC[:])
}

// Cryptogram returns the 8-byte cryptogram under a session key over data that was put
// together elsewhere: ISO/IEC 9797-1 algorithm 3 over the padded data, or for padding
// 0 the left half of the AES-CMAC. A caller whose data is padded already says
// [PadZeros].
func Cryptogram(ctx context.Context, k Keys, key keyref.Chain, p Padding, data []byte) (ac [8]byte, err error) {
	if p == 0 {
		full, err := k.CMAC(ctx, key, data)
		if err != nil {
			return ac, fmt.Errorf("computing a cryptogram: %w", err)
		}
		return [8]byte(full[:8]), nil
	}
	padded, err := p.pad(data)
	if err != nil {
		return ac, err
	}
	if ac, err = k.MAC3(ctx, key, padded); err != nil {
		return ac, fmt.Errorf("computing a cryptogram: %w", err)
	}
	return ac, nil
}

// Answer is what the issuer tells the card with its ARPC (8.2).
type Answer struct {
	Code        [2]byte // authorisation response code (ARC), of method 1
	Status      [4]byte // card status update (CSU), of method 2
	Proprietary []byte  // proprietary authentication data, 0 to 8 bytes, of method 2
}

// Issuer returns the issuer authentication data, the value of tag 91, with which the
// issuer answers the cryptogram of a transaction: ARPC and what it covers, 10 bytes by
// method 1 or 8 to 16 by method 2. master is the issuer's key.
func (p Profile) Issuer(ctx context.Context, k Keys, master keyref.Ref, t Transaction, a Answer) ([]byte, error) {
	key, err := p.Card(master, t.Card)
	if err != nil {
		return nil, err
	}
	if !p.Response.Master {
		if key, err = p.Transaction(key, t.Data); err != nil {
			return nil, err
		}
	}
	switch p.Response.Method {
	case 1:
		return ARPC1(ctx, k, key, t.AC, a.Code)
	case 2:
		return ARPC2(ctx, k, key, p.Master.AES(), t.AC, a)
	}
	return nil, fmt.Errorf("%w: profile %s has no answer", ErrMalformed, p.Name)
}

// ARPC1 returns the issuer authentication data by method 1 (8.2.1): 8 bytes, the
// cryptogram xor the response code, enciphered under key; then the 2 bytes of the code.
func ARPC1(ctx context.Context, k Keys, key keyref.Chain, ac [8]byte, code [2]byte) ([]byte, error) {
	ac[0] ^= code[0]
	ac[1] ^= code[1]
	out, err := k.EncipherBlocks(ctx, key, false, ac[:])
	if err != nil {
		return nil, fmt.Errorf("computing an answer: %w", err)
	}
	return append(out, code[:]...), nil
}

// ARPC2 returns the issuer authentication data by method 2 (8.2.2): the left 4 bytes of
// the MAC over cryptogram, status and proprietary data; then status (4 bytes) and
// proprietary data (up to 8). aes says that key is an AES key, so that the MAC is CMAC.
func ARPC2(ctx context.Context, k Keys, key keyref.Chain, aes bool, ac [8]byte, a Answer) ([]byte, error) {
	if len(a.Proprietary) > 8 {
		return nil, fmt.Errorf("%w: proprietary data of %d bytes", ErrMalformed, len(a.Proprietary))
	}
	tail := append(a.Status[:], a.Proprietary...)
	padding := PadMarker
	if aes {
		padding = 0
	}
	full, err := Cryptogram(ctx, k, key, padding, append(ac[:], tail...))
	if err != nil {
		return nil, err
	}
	return append(full[:4:4], tail...), nil
}
