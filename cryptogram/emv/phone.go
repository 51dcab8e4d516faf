package emv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/tdes"
)

// LUKIndex names a limited-use key: the last digit of the year, the hours since
// its first, and a count within the hour. It travels in the issuer application
// data, so that the host can make the key again.
type LUKIndex struct {
	Year, Hour, Count int
}

// maxHour is how many hours the longest year has.
const maxHour = 366 * 24

// String prints YHHHHCC.
func (i LUKIndex) String() string { return fmt.Sprintf("%d%04d%02d", i.Year, i.Hour, i.Count) }

// Valid reports whether i is an index that is given out.
func (i LUKIndex) Valid() bool {
	return i.Year >= 0 && i.Year <= 9 && i.Hour >= 1 && i.Hour <= maxHour && i.Count >= 0 && i.Count <= 99
}

// lukStep is the derivation of a limited-use key by an index of seven digits.
func lukStep(index []byte) ([]byte, error) {
	if len(index) != 7 || !decimal(string(index)) {
		return nil, fmt.Errorf("%w: the index of a limited-use key has seven digits", ErrMalformed)
	}
	tail := string(index) + "80000000"
	return bcd("1" + tail + "2" + tail), nil
}

// LimitedKey returns the chain from a card's key to a limited-use key. The index is
// seven digits, YHHHHCC (see [LUKIndex]); whether that one was ever given out is for the
// caller to check.
func LimitedKey(card keyref.Chain, index string) (keyref.Chain, error) {
	step, err := lukStep([]byte(index))
	if err != nil {
		return card, err
	}
	return card.Then(step), nil
}

// StripeValue returns the three digits with which a phone that emulates a magnetic
// stripe proves its limited-use key luk: a block whose first 2 bytes are the ATC and
// whose other 6 are those of the device type, enciphered and made decimal.
func StripeValue(ctx context.Context, k Keys, luk keyref.Chain, atc [2]byte, device [8]byte) (string, error) {
	copy(device[:], atc[:])
	out, err := k.EncipherBlocks(ctx, luk, false, device[:])
	if err != nil {
		return "", fmt.Errorf("computing a stripe value: %w", err)
	}
	return decimals(out, 3), nil
}

// Mask hides a single-use Triple DES key under a PIN of 4 to 12 digits, and takes the
// mask off again: each of the first 8 digits, as ASCII, is shifted left past the parity
// bit and xored into both halves. A wrong PIN gives a key that looks as good as the
// right one, so a thief cannot try PINs on a stolen phone; only the issuer can tell. For
// that no check value of the key may ever be kept beside it.
func Mask(key *[16]byte, pin string) ([16]byte, error) {
	if _, err := pinDigits(pin); err != nil {
		return [16]byte{}, err
	}
	out := *key
	for i := range min(8, len(pin)) {
		out[i] ^= pin[i] << 1
		out[8+i] ^= pin[i] << 1
	}
	return out, nil
}

// PhoneKeys are the two keys of one transaction of a phone. User is masked.
type PhoneKeys struct{ Device, User [16]byte }

// Clear zeroes both.
func (p *PhoneKeys) Clear() { clear(p.Device[:]); clear(p.User[:]) }

// Phone is a token on a phone: its card, and the issuer's two masters.
type Phone struct {
	Card         Card
	Rule         MasterRule
	Device, User keyref.Ref
}

// chain leads to the key of one counter under a master. It takes no
// unpredictable number, so that it can be made before the transaction.
func (p Phone) chain(master keyref.Ref, atc [2]byte) (keyref.Chain, error) {
	step, err := p.Rule.Step(p.Card)
	if err != nil || p.Rule.AES() {
		return keyref.Chain{}, errors.Join(ErrMalformed, err)
	}
	return keyref.Chain{Key: master}.Then(step).Then(CommonStep([]byte{atc[0], atc[1], 0, 0, 0, 0, 0, 0}, 0)), nil
}

// Provision makes the two 16-byte keys of one counter that are sent to the phone; the
// user's is masked with the PIN. The caller clears them.
func (p Phone) Provision(ctx context.Context, r Revealer, atc [2]byte, pin string) (keys PhoneKeys, err error) {
	defer func() {
		if err != nil {
			keys.Clear()
		}
	}()
	if keys.Device, err = p.reveal(ctx, r, p.Device, atc); err != nil {
		return keys, err
	}
	user, err := p.reveal(ctx, r, p.User, atc)
	defer clear(user[:])
	if err != nil {
		return keys, err
	}
	keys.User, err = Mask(&user, pin)
	return keys, err
}

func (p Phone) reveal(ctx context.Context, r Revealer, master keyref.Ref, atc [2]byte) (key [16]byte, err error) {
	c, err := p.chain(master, atc)
	if err != nil {
		return key, err
	}
	b, err := r.Reveal(ctx, c)
	defer clear(b)
	if err != nil {
		return key, fmt.Errorf("making a phone's key: %w", err)
	}
	if copy(key[:], b) != len(key) {
		return key, fmt.Errorf("making a phone's key: %w: %d bytes", ErrMalformed, len(b))
	}
	tdes.OddParity(key[:])
	return key, nil
}

// DevicePart is how much of the device's cryptogram travels, in the issuer
// application data.
const DevicePart = 5

// Verdict is what two cryptograms together say.
type Verdict uint8

// Verdicts. The zero value is the one that refuses.
const (
	NotOurs  Verdict = iota // another device, or a replay: neither says anything about the PIN
	WrongPIN                // our device, and not its user: to be counted
	Good
)

// PhoneTap is a transaction of a phone: what its cryptograms cover, and both of them.
type PhoneTap struct {
	ATC     [2]byte
	Data    []byte // as it is before Padding
	Padding Padding
	User    [8]byte          // cryptogram under the key that the PIN masks
	Device  [DevicePart]byte // left end of the one under the device's key
}

// Judge compares both cryptograms of a transaction. Both are computed and compared
// whatever the first says. An error says that one could not be computed, and goes with
// [NotOurs].
func (p Phone) Judge(ctx context.Context, k Keys, t PhoneTap) (Verdict, error) {
	device, err := p.cryptogram(ctx, k, p.Device, t)
	if err != nil {
		return NotOurs, err
	}
	user, err := p.cryptogram(ctx, k, p.User, t)
	if err != nil {
		return NotOurs, err
	}
	isDevice, isUser := equal(device[:DevicePart], t.Device[:]), equal(user[:], t.User[:])
	switch {
	case isDevice && isUser:
		return Good, nil
	case isDevice:
		return WrongPIN, nil
	}
	return NotOurs, nil
}

func (p Phone) cryptogram(ctx context.Context, k Keys, master keyref.Ref, t PhoneTap) (ac [8]byte, err error) {
	c, err := p.chain(master, t.ATC)
	if err != nil {
		return ac, err
	}
	return Cryptogram(ctx, k, c, t.Padding, t.Data)
}

// ParseLUKIndex reads YHHHHCC.
func ParseLUKIndex(text string) (i LUKIndex, err error) {
	if len(text) != 7 || !decimal(text) {
		return i, fmt.Errorf("%w: the index of a limited-use key has seven digits", ErrMalformed)
	}
	_, err = fmt.Fscanf(strings.NewReader(text), "%1d%4d%2d", &i.Year, &i.Hour, &i.Count)
	if err != nil || !i.Valid() {
		return LUKIndex{}, fmt.Errorf("%w: no limited-use key has this index", ErrMalformed)
	}
	return i, nil
}
