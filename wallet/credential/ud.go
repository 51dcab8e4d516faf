// Package credential reads, prints and checks the public half of what a phone
// shows at a reader: use descriptor, signed credential and device proof.
//
// Nothing here is secret. A use descriptor needs no signature, because it is
// the last factor from which a slot's keys are derived: a phone that lies about
// any of its fields gets other keys, and its MACs fail.
package credential

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/token"
)

// UDSize is the length of a use descriptor.
const UDSize = 8

// Unit is what caps are counted in: 10 fen.
const Unit token.Amount = 10

const (
	maxHours = 1<<24 - 1
	hour     = 3600 // seconds
)

// epoch is hour 0 of a use descriptor.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Class says what a slot may be used for.
type Class byte

// Classes.
const (
	Express Class = 1 // no PIN
	Small   Class = 2
	Medium  Class = 3
	Large   Class = 4
)

// String is the class's letter.
func (c Class) String() string {
	if c < Express || c > Large {
		return "?"
	}
	return "ESMX"[c-1 : c]
}

// UD is a use descriptor: one slot's expiry, counter, cap, class and key
// version. It is comparable.
type UD struct {
	HourExp uint32 // hours since 2020-01-01T00:00Z, 24 bits
	Ctr     uint16 // the slot's counter, which is the purse's offline serial
	Cap     uint16 // highest amount, in units of 10 fen
	Class   Class
	KeyVer  byte // low nibble of the slot masters' key version, 1 to 15
}

// Hours returns t as hours since 2020, rounded up: a slot is never good for
// less than its token is, and for less than an hour more.
func Hours(t time.Time) uint32 {
	seconds := t.Unix() - epoch.Unix() // a duration ends after 292 years
	if t.Nanosecond() > 0 {
		seconds++
	}
	return uint32(min(max((seconds+hour-1)/hour, 0), maxHours))
}

// NewUD describes a slot that ends with the hour of notAfter and pays up to
// limit.
func NewUD(notAfter time.Time, ctr uint16, limit token.Amount, class Class, keyVer byte) (UD, error) {
	units, err := toUnits(limit)
	if err != nil {
		return UD{}, err
	}
	u := UD{HourExp: Hours(notAfter), Ctr: ctr, Cap: units, Class: class, KeyVer: keyVer & 0x0F}
	return u, u.check()
}

// ParseUD reads exactly 8 bytes.
func ParseUD(b []byte) (UD, error) {
	if len(b) != UDSize {
		return UD{}, fmt.Errorf("%w: a use descriptor has %d bytes", token.ErrMalformed, UDSize)
	}
	u := UD{
		HourExp: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		Ctr:     binary.BigEndian.Uint16(b[3:]),
		Cap:     binary.BigEndian.Uint16(b[5:]),
		Class:   Class(b[7] >> 4),
		KeyVer:  b[7] & 0x0F,
	}
	return u, u.check()
}

func (u UD) check() error {
	switch {
	case u.HourExp == 0 || u.HourExp >= maxHours:
		return fmt.Errorf("%w: use descriptor without a possible expiry", token.ErrMalformed)
	case u.Cap == 0:
		return fmt.Errorf("%w: use descriptor without a cap", token.ErrMalformed)
	case u.Class < Express || u.Class > Large:
		return fmt.Errorf("%w: use descriptor of an unknown class", token.ErrMalformed)
	case u.KeyVer == 0:
		return fmt.Errorf("%w: use descriptor without a key version", token.ErrMalformed)
	}
	return nil
}

// Bytes prints u; it is the inverse of [ParseUD] and the third factor of the
// slot's keys.
func (u UD) Bytes() [UDSize]byte {
	b := [UDSize]byte{byte(u.HourExp >> 16), byte(u.HourExp >> 8), byte(u.HourExp)}
	binary.BigEndian.PutUint16(b[3:], u.Ctr)
	binary.BigEndian.PutUint16(b[5:], u.Cap)
	b[7] = byte(u.Class)<<4 | u.KeyVer&0x0F
	return b
}

// Limit is the highest amount the slot pays.
func (u UD) Limit() token.Amount { return token.Amount(u.Cap) * Unit }

// Expires is the moment at which the slot ends.
func (u UD) Expires() time.Time { return time.Unix(epoch.Unix()+int64(u.HourExp)*hour, 0).UTC() }

func toUnits(a token.Amount) (uint16, error) {
	if a%Unit != 0 || a/Unit > 0xFFFF || a == 0 {
		return 0, fmt.Errorf("%w: a cap is a multiple of %d fen and fits 16 bits", token.ErrMalformed, Unit)
	}
	return uint16(a / Unit), nil
}
