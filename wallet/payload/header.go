package payload

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/token"
)

// Names of the protected header parameters of the sealed bundle, beside those
// of JOSE itself. They are authenticated with the ciphertext and not secret.
const (
	HeaderVersion = "v"   // 1
	HeaderBundle  = "bid" // bundle id
	HeaderToken   = "ref" // token reference
	HeaderExpiry  = "exp" // seconds since 1970: the token's not_after
	HeaderCard    = "card"

	// Of a bundle that a PIN guards, and of its hardware key.
	HeaderDevice   = "dev"  // device id
	HeaderEpoch    = "pin"  // epoch of the PIN that masks the TAC keys
	HeaderHardware = "hw"   // true: the mask needs the hardware key that goes with the bundle
	HeaderUses     = "uses" // of a hardware key: how often it may be used
)

// Version is the value of [HeaderVersion].
const Version = 1

// SpareUses is how often the keys of a bundle that live in hardware may be used
// beyond its slots: for taps that were torn.
const SpareUses = 5

// Card is what a handset must know, beside the payload, to answer as a card of
// its scheme. None of it is secret. It travels as [HeaderCard].
type Card struct {
	AID        []byte
	Issuer     [8]byte
	AppType    byte
	AppVersion byte
	From, To   [4]byte // civil dates, BCD, of the token's first and last moment
	KeyVersion byte    // of the PSAM's three-level purchase key
	Algorithm  byte
}

// CivilDate returns t's date in its own zone as BCD YYYYMMDD.
func CivilDate(t time.Time) [4]byte {
	b, _ := hex.DecodeString(t.Format("20060102")) // years of four digits always decode
	return [4]byte(b)
}

// Header prints c as the value of [HeaderCard].
func (c Card) Header() string {
	b := append([]byte{byte(len(c.AID))}, c.AID...)
	b = append(append(b, c.Issuer[:]...), c.AppType, c.AppVersion)
	b = append(append(append(b, c.From[:]...), c.To[:]...), c.KeyVersion, c.Algorithm)
	return hex.EncodeToString(b)
}

// ParseCard is the inverse of [Card.Header].
func ParseCard(s string) (Card, error) {
	const rest = 8 + 2 + 4 + 4 + 2
	b, err := hex.DecodeString(s)
	if err != nil || len(b) < 1+5+rest || b[0] < 5 || b[0] > 16 || len(b) != 1+int(b[0])+rest {
		return Card{}, fmt.Errorf("%w: card header of a bundle", token.ErrMalformed)
	}
	c := Card{AID: b[1 : 1+b[0]]}
	b = b[1+len(c.AID):]
	c.Issuer, c.AppType, c.AppVersion = [8]byte(b[:8]), b[8], b[9]
	c.From, c.To, c.KeyVersion, c.Algorithm = [4]byte(b[10:14]), [4]byte(b[14:18]), b[18], b[19]
	if hexed := c.Header(); hexed != s {
		return Card{}, fmt.Errorf("%w: card header of a bundle is not lower case", token.ErrMalformed)
	}
	return c, nil
}
