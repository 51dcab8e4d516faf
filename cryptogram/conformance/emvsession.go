package conformance

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/tdes"
)

// key imports a key of EMV for one use.
func (s *session) key(ctx context.Context, u keyref.Usage, value []byte) (keyref.Chain, error) {
	p, err := s.use(ctx, u, value)
	return keyref.Chain{Key: p.Key}, err
}

// own imports the key of a transaction, to be used itself.
func (s *session) own(ctx context.Context, in *input, name string) (keyref.Chain, error) {
	value := in.hex(name, 16)
	if in.err != nil {
		return keyref.Chain{}, nil
	}
	return s.key(ctx, keyref.SessionKey, value)
}

// probe16 is what two keys encipher to be compared.
var probe16 = []byte("two probe blocks")

// sameChain checks the key at the end of a chain from root against expected
// bytes: first by use, then byte by byte, with odd parity if odd. The module
// enciphers each step under an import of the key before.
func (s *session) sameChain(c keyref.Chain, root []byte, odd bool) check {
	return hexed(func(ctx context.Context, want []byte) error {
		if len(want) != 16 {
			return fmt.Errorf("has %d bytes, not 16", len(want))
		}
		expected, err := s.key(ctx, keyref.SessionKey, want)
		if err != nil {
			return err
		}
		a, err := s.ring.EncipherBlocks(ctx, c, false, probe16)
		if err != nil {
			return fmt.Errorf("using the derived key: %w", err)
		}
		b, err := s.ring.EncipherBlocks(ctx, expected, false, probe16)
		if err != nil {
			return fmt.Errorf("using the expected key: %w", err)
		}
		if !bytes.Equal(a, b) {
			return errDiffers
		}
		got, err := s.along(ctx, root, c.Steps, odd)
		if err == nil && !bytes.Equal(got, want) {
			err = errDiffers
		}
		return err
	})
}

// along returns the bytes of the key that steps make of root.
func (s *session) along(ctx context.Context, root []byte, steps [][]byte, odd bool) ([]byte, error) {
	key := root
	for _, step := range steps {
		c, err := s.key(ctx, keyref.SessionKey, key)
		if err != nil {
			return nil, err
		}
		if key, err = s.ring.EncipherBlocks(ctx, c, false, step); err != nil {
			return nil, fmt.Errorf("enciphering a step: %w", err)
		}
		if odd {
			tdes.OddParity(key)
		}
	}
	return key, nil
}

// sameAES checks the AES key at the end of a chain by the CMAC of a probe.
func (s *session) sameAES(c keyref.Chain) check {
	return hexed(func(ctx context.Context, want []byte) error {
		expected, err := s.key(ctx, keyref.SessionKeyAES, want)
		if err != nil {
			return err
		}
		a, err := s.ring.CMAC(ctx, c, probe16)
		if err != nil {
			return fmt.Errorf("using the derived key: %w", err)
		}
		b, err := s.ring.CMAC(ctx, expected, probe16)
		if err == nil && a != b {
			err = errDiffers
		}
		return err
	})
}

// kcv checks the first three bytes of a block of zeros enciphered.
func (s *session) kcv(c keyref.Chain) check {
	return hexed(func(ctx context.Context, want []byte) error {
		got, err := s.ring.EncipherBlocks(ctx, c, false, make([]byte, 8))
		if err != nil {
			return fmt.Errorf("enciphering zeros: %w", err)
		}
		if !bytes.Equal(got[:3], want) {
			return errDiffers
		}
		return nil
	})
}

// card reads number and sequence number.
func (in *input) card() emv.Card {
	c, err := emv.NewCard(in.str("pan"), in.text("psn", "00"))
	if in.has("psn") && in.text("psn", "") == "" {
		in.fail("psn", "is empty")
	}
	if err != nil {
		in.fail("pan", "or psn is none")
	}
	return c
}

// padding reads a padding method, as a number or in words.
func (in *input) padding(name string) emv.Padding {
	switch in.str(name) {
	case "iso9797-1 method 1":
		return emv.PadZeros
	case "iso9797-1 method 2":
		return emv.PadMarker
	}
	in.fail(name, "is neither method 1 nor 2")
	return emv.PadZeros
}
