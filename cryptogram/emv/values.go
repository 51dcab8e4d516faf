package emv

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/mac"
)

// Service codes that tell the kinds of card verification value apart.
const (
	ServiceCVV2 = "000" // printed on the card
	ServiceICVV = "999" // in the chip
)

// CVV returns the three digits of a card verification value under a key of
// usage [keyref.CVK]. Expiry is four digits in the order that the issuer chose,
// YYMM or MMYY; the service code is the stripe's, or one of the constants.
func CVV(ctx context.Context, k Keys, cvk keyref.Chain, c Card, expiry, service string) (string, error) {
	pan, _ := c.number()
	return cvv(ctx, k, cvk, pan, expiry, service)
}

// VerifyCVV compares in constant time.
func VerifyCVV(ctx context.Context, k Keys, cvk keyref.Chain, c Card, expiry, service, value string) error {
	want, err := CVV(ctx, k, cvk, c, expiry, service)
	if err != nil {
		return err
	}
	return match([]byte(want), []byte(value))
}

// cvv is algorithm 3 over two blocks of digits, made decimal.
func cvv(ctx context.Context, k Keys, key keyref.Chain, pan, expiry, service string) (string, error) {
	if pan == "" || len(expiry) != 4 || len(service) != 3 || !decimal(expiry+service) {
		return "", fmt.Errorf("%w: expiry has four digits and service code three", ErrMalformed)
	}
	digits := pan + expiry + service
	full, err := k.MAC3(ctx, key, bcd(digits+strings.Repeat("0", 32-len(digits))))
	if err != nil {
		return "", fmt.Errorf("computing a verification value: %w", err)
	}
	return decimals(full[:], 3), nil
}

// DynamicCVV returns Visa's dCVV: a CVV under the card's key for cryptograms,
// of the number with the counter in front. The sequence number is not used. The
// counter is in hex, and must read as decimal: how others are shown is up to
// the scheme.
func DynamicCVV(ctx context.Context, k Keys, rule MasterRule, master keyref.Ref, c Card, expiry, service string, atc [2]byte) (string, error) {
	pan, _ := c.number()
	count := hex.EncodeToString(atc[:])
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
	return cvv(ctx, k, keyref.Chain{Key: master}.Then(step), count+pan[4:], expiry, service)
}

// TrackIV returns the two bytes that a card's track data contributes to its
// CVC3, under the card's key.
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

// CVC3 returns Mastercard's dynamic verification code, five digits. The track
// carries the last of them, as many as it has room for.
func CVC3(ctx context.Context, k Keys, card keyref.Chain, track []byte, un [4]byte, atc [2]byte) (string, error) {
	iv, err := TrackIV(ctx, k, card, track)
	if err != nil {
		return "", err
	}
	block := append(append(iv[:], un[:]...), atc[:]...)
	out, err := k.EncipherBlocks(ctx, card, false, block)
	if err != nil {
		return "", fmt.Errorf("computing a CVC3: %w", err)
	}
	return fmt.Sprintf("%05d", int(out[6])<<8|int(out[7])), nil
}

// VerifyCVC3 compares the digits that a track carries, 3 to 5 of them.
func VerifyCVC3(ctx context.Context, k Keys, card keyref.Chain, track []byte, un [4]byte, atc [2]byte, digits string) error {
	if len(digits) < 3 || len(digits) > 5 {
		return fmt.Errorf("%w: a CVC3 of %d digits", ErrMalformed, len(digits))
	}
	want, err := CVC3(ctx, k, card, track, un, atc)
	if err != nil {
		return err
	}
	return match([]byte(want[5-len(digits):]), []byte(digits))
}

// DynamicNumber returns the two bytes of an ICC dynamic number.
func DynamicNumber(ctx context.Context, k Keys, card keyref.Chain, atc [2]byte, un [4]byte) (n [2]byte, err error) {
	out, err := k.EncipherBlocks(ctx, card, false, []byte{atc[0], atc[1], 0, 0, un[0], un[1], un[2], un[3]})
	if err != nil {
		return n, fmt.Errorf("computing a dynamic number: %w", err)
	}
	return [2]byte(out), nil
}
