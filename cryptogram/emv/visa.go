package emv

import (
	"context"
	"crypto/cipher"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
	"github.com/tapvault/tapvault/internal/tdes"
)

// Visa's older rules need the key of one card in memory. What follows borrows
// it from a [Revealer], which refuses unless it was told otherwise, and wipes
// it before returning.

// borrow lends a card's key, with odd parity, to use.
func borrow(ctx context.Context, r Revealer, card keyref.Chain, use func(key *[16]byte) error) error {
	b, err := r.Reveal(ctx, card)
	defer clear(b)
	if err != nil {
		return fmt.Errorf("borrowing a card's key: %w", err)
	}
	var key [16]byte
	defer clear(key[:])
	if copy(key[:], b) != len(b) || len(b) != len(key) {
		return fmt.Errorf("borrowing a card's key: %w: %d bytes", ErrMalformed, len(b))
	}
	tdes.OddParity(key[:])
	return use(&key)
}

// VisaScript lends use the keys of one script session of Visa CVN 10 and 18,
// made of a card's key for integrity or for confidentiality. Whatever chain
// they are asked for, they are that session's key.
func VisaScript(ctx context.Context, r Revealer, card keyref.Chain, atc [2]byte, use func(Keys) error) error {
	return borrow(ctx, r, card, func(key *[16]byte) error {
		s := inMemory{VisaSession(key, atc)}
		defer clear(s.key[:])
		return use(&s)
	})
}

// VisaPIN returns the block in which a Visa card gets a new PIN, under the
// card's key for cryptograms. The caller enciphers it as script data.
func VisaPIN(ctx context.Context, r Revealer, card keyref.Chain, newPIN, currentPIN string) (b [8]byte, err error) {
	err = borrow(ctx, r, card, func(key *[16]byte) (err error) {
		b, err = PINBlockVIS(key, newPIN, currentPIN)
		return err
	})
	return b, err
}

// inMemory is one Triple DES key as [Keys].
type inMemory struct{ key [16]byte }

func (m *inMemory) MAC3(_ context.Context, _ keyref.Chain, padded []byte) (out [8]byte, err error) {
	left, err := tdes.New(m.key[:8])
	if err != nil {
		return out, err
	}
	right, err := tdes.New(m.key[8:])
	if err != nil {
		return out, err
	}
	return [8]byte(mac.Retail(left, right, padded)), nil
}

func (m *inMemory) CMAC(context.Context, keyref.Chain, []byte) (out [16]byte, err error) {
	return out, fmt.Errorf("%w: scripts of Visa have no AES", ErrMalformed)
}

func (m *inMemory) EncipherBlocks(_ context.Context, _ keyref.Chain, chained bool, blocks []byte) ([]byte, error) {
	b, err := tdes.New(m.key[:])
	if err != nil || len(blocks)%8 != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no blocks", ErrMalformed, len(blocks))
	}
	out := make([]byte, len(blocks))
	if chained {
		cipher.NewCBCEncrypter(b, make([]byte, 8)).CryptBlocks(out, blocks)
		return out, nil
	}
	for i := 0; i < len(blocks); i += 8 {
		b.Encrypt(out[i:], blocks[i:])
	}
	return out, nil
}
