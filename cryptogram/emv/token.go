package emv

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// TokenCryptogram is proof that a token was used by its device for one payment
// without a reader, such as in an app. The framework leaves its form to each
// programme; this one fits the 28 characters that merchants' messages have.
type TokenCryptogram struct {
	KeyIndex byte
	Flags    byte // how the holder was verified; covered, and for the programme to define
	ATC      [2]byte
	UN       [4]byte // the merchant's or the device's
	AC       [8]byte
}

const (
	tokenVersion = 1
	tokenLength  = 20
)

// TokenData is what the cryptogram covers beside itself.
type TokenData struct {
	Amount    uint64   // minor units, up to 12 digits
	Currency  uint16   // ISO 4217 as its three digits
	Requestor [11]byte // digits of the token requestor id
}

// message is version, key index, flags, counter, unpredictable number, amount,
// currency, requestor.
func (t TokenCryptogram) message(d TokenData) ([]byte, error) {
	if d.Amount > 999_999_999_999 || d.Currency > 999 || !decimal(string(d.Requestor[:])) {
		return nil, fmt.Errorf("%w: amount, currency or requestor of a token cryptogram", ErrMalformed)
	}
	m := append([]byte{tokenVersion, t.KeyIndex, t.Flags, t.ATC[0], t.ATC[1]}, t.UN[:]...)
	m = append(m, bcd(fmt.Sprintf("%012d%04d", d.Amount, d.Currency))...)
	return append(m, d.Requestor[:]...), nil
}

// Token makes the cryptogram of a payment: what a device does, or a server for
// it. AC of t is filled in. The key is the common session key of the counter.
func (p Profile) Token(ctx context.Context, k Keys, master keyref.Ref, c Card, t TokenCryptogram, d TokenData) (TokenCryptogram, error) {
	msg, err := t.message(d)
	if err != nil {
		return TokenCryptogram{}, err
	}
	card, err := p.Card(master, c)
	if err != nil {
		return TokenCryptogram{}, err
	}
	key, err := commonSession(p.Master, card, t.ATC)
	if err != nil {
		return TokenCryptogram{}, err
	}
	padding := PadMarker
	if p.Master.AES() {
		padding = 0
	}
	t.AC, err = Cryptogram(ctx, k, key, padding, msg)
	return t, err
}

// commonSession leads from a card's key to the common session key of a counter.
func commonSession(m MasterRule, card keyref.Chain, atc [2]byte) (keyref.Chain, error) {
	step, _, err := SessionCommon.Step(m.keySize(), Data{"9F36": atc[:]})
	if err != nil {
		return card, err
	}
	return card.Then(step), nil
}

// VerifyToken compares the cryptogram of a payment with what it should be.
func (p Profile) VerifyToken(ctx context.Context, k Keys, master keyref.Ref, c Card, t TokenCryptogram, d TokenData) error {
	want, err := p.Token(ctx, k, master, c, t, d)
	if err != nil {
		return err
	}
	return match(want.AC[:], t.AC[:])
}

// String prints the 28 characters. They are no secret.
func (t TokenCryptogram) String() string {
	b := append([]byte{tokenVersion, t.KeyIndex, t.Flags, 0}, t.ATC[:]...)
	b = append(append(b, t.UN[:]...), t.AC[:]...)
	b = binary.BigEndian.AppendUint16(b, 0)
	return base64.StdEncoding.EncodeToString(b)
}

// ParseToken reads them, strictly.
func ParseToken(text string) (t TokenCryptogram, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(text) != 28 || len(b) != tokenLength || b[0] != tokenVersion || b[3]|b[18]|b[19] != 0 {
		return t, &FieldError{"cryptogram", "be 28 characters of base64, as they were made"}
	}
	t.KeyIndex, t.Flags = b[1], b[2]
	copy(t.ATC[:], b[4:])
	copy(t.UN[:], b[6:])
	copy(t.AC[:], b[10:])
	return t, nil
}
