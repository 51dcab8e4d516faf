package emv

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
)

// CVVInput is what a card verification value is made of.
type CVVInput struct {
	Card    Card    // its sequence number is not used
	Expiry  string  // four digits in the order that the issuer chose, YYMM or MMYY
	Service string  // three digits: the stripe's service code, or one of the constants
	ATC     [2]byte // of a dCVV only
}

// Service codes that tell the kinds of card verification value apart.
const (
	ServiceCVV2 = "000" // printed on the card
	ServiceICVV = "999" // in the chip
)

// CVV returns the three digits of a card verification value (CVV, CVC, and with the
// service codes above CVV2 and iCVV) under a key of usage [keyref.CVK].
func CVV(ctx context.Context, k Keys, cvk keyref.Chain, in CVVInput) (string, error) {
	pan, _ := in.Card.number()
	return cvv(ctx, k, cvk, pan, in)
}

// VerifyCVV compares the three digits of value with [CVV] in constant time.
// [ErrMismatch] says that they differ.
func VerifyCVV(ctx context.Context, k Keys, cvk keyref.Chain, in CVVInput, value string) error {
	want, err := CVV(ctx, k, cvk, in)
	if err != nil {
		return err
	}
	return match([]byte(want), []byte(value))
}

// cvv is algorithm 3 over two blocks of digits, made decimal. pan takes the place of
// the card's number.
func cvv(ctx context.Context, k Keys, key keyref.Chain, pan string, in CVVInput) (string, error) {
	if pan == "" || len(in.Expiry) != 4 || len(in.Service) != 3 || !decimal(in.Expiry+in.Service) {
		return "", fmt.Errorf("%w: expiry has four digits and service code three", ErrMalformed)
	}
	digits := pan + in.Expiry + in.Service
	full, err := k.MAC3(ctx, key, bcd(digits+strings.Repeat("0", 32-len(digits))))
	if err != nil {
		return "", fmt.Errorf("computing a verification value: %w", err)
	}
	return decimals(full[:], 3), nil
}

// DynamicCVV returns the three digits of Visa's dCVV: a CVV under the card's key for
// cryptograms, which rule derives from master, with the four hex digits of the ATC in
// the place of the number's first four. They must read as decimal, or the error is
// [ErrMalformed]: how other counters are shown is up to the scheme.
func DynamicCVV(ctx context.Context, k Keys, rule MasterRule, master keyref.Ref, in CVVInput) (string, error) {
	pan, _ := in.Card.number()
	count := hex.EncodeToString(in.ATC[:])
	switch {
	case pan == "":
		return "", fmt.Errorf("%w: no card", ErrMalformed)
	case !decimal(count):
		return "", &FieldError{"atc", "have decimal digits for a dcvv"}
	}
	plain, err := NewCard(pan, "00")
	if err != nil {
		return "", err
	}
	step, err := rule.Step(plain)
	if err != nil {
		return "", err
	}
	return cvv(ctx, k, keyref.Chain{Key: master}.Then(step), count+pan[4:], in)
}

// TrackIV returns the two bytes (IVCVC3) that a card's static track data of 1 to 128
// bytes contributes to its CVC3: the right end of their MAC under the card's key.
func TrackIV(ctx context.Context, k Keys, card keyref.Chain, track []byte) (iv [2]byte, err error) {
	if len(track) == 0 || len(track) > 128 {
		return iv, fmt.Errorf("%w: track data of %d bytes", ErrMalformed, len(track))
	}
	full, err := k.MAC3(ctx, card, mac.Pad2(track, 8))
	if err != nil {
		return iv, fmt.Errorf("computing a CVC3: %w", err)
	}
	return [2]byte(full[6:]), nil
}

// CVC3Input is what a dynamic verification code is made of.
type CVC3Input struct {
	Track []byte  // static track data, 1 to 128 bytes
	UN    [4]byte // the reader's
	ATC   [2]byte
}

// CVC3 returns the five digits of Mastercard's dynamic verification code under the
// card's key: [TrackIV], UN and ATC enciphered, of which the last two bytes are made
// decimal. The track carries the last digits, as many as it has room for.
func CVC3(ctx context.Context, k Keys, card keyref.Chain, in CVC3Input) (string, error) {
	iv, err := TrackIV(ctx, k, card, in.Track)
	if err != nil {
		return "", err
	}
	block := append(append(iv[:], in.UN[:]...), in.ATC[:]...)
	out, err := k.EncipherBlocks(ctx, card, false, block)
	if err != nil {
		return "", fmt.Errorf("computing a CVC3: %w", err)
	}
	return fmt.Sprintf("%05d", int(out[6])<<8|int(out[7])), nil
}

// VerifyCVC3 compares the last 3 to 5 digits, as a track carries them, with [CVC3] in
// constant time. [ErrMismatch] says that they differ.
func VerifyCVC3(ctx context.Context, k Keys, card keyref.Chain, in CVC3Input, digits string) error {
	if len(digits) < 3 || len(digits) > 5 {
		return fmt.Errorf("%w: a CVC3 of %d digits", ErrMalformed, len(digits))
	}
	want, err := CVC3(ctx, k, card, in)
	if err != nil {
		return err
	}
	return match([]byte(want[5-len(digits):]), []byte(digits))
}

// DynamicNumber returns the two bytes of an ICC dynamic number: the left end of ATC ‖
// 00 00 ‖ UN enciphered under the card's key.
func DynamicNumber(ctx context.Context, k Keys, card keyref.Chain, atc [2]byte, un [4]byte) (n [2]byte, err error) {
	out, err := k.EncipherBlocks(ctx, card, false, []byte{atc[0], atc[1], 0, 0, un[0], un[1], un[2], un[3]})
	if err != nil {
		return n, fmt.Errorf("computing a dynamic number: %w", err)
	}
	return [2]byte(out), nil
}
