package deny

import (
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// switchesSize is the length of [Switches] on the wire.
const switchesSize = 8

// Profile is a way in which phones pay.
type Profile byte

// Profiles: P runs on the security modules that terminals have, X on ones with
// keys of a day.
const (
	ProfileP Profile = 1
	ProfileX Profile = 2
)

// Switches is the circuit breaker that travels with every list: it takes
// effect as soon as a reader hears the list. The zero value switches nothing
// off. An issuer key is switched off by its entry, see [OfKeyID].
type Switches struct {
	Profiles byte         // bit i: profile 1<<i is off
	Classes  byte         // bit i: slots of class i are off
	KeyVers  uint16       // bit i: slots under key version i (its low four bits) are off
	Cap      token.Amount // most that one tap may pay; 0: as the slot says
}

// Disable returns s with a profile, class or key version off as well.
func (s Switches) Disable(p Profile, c credential.Class, keyVer byte) Switches {
	s.Profiles |= byte(p)
	if c != 0 {
		s.Classes |= 1 << c
	}
	if keyVer&0x0F != 0 {
		s.KeyVers |= 1 << (keyVer & 0x0F)
	}
	return s
}

// Off reports whether slots like u are switched off in profile p.
func (s Switches) Off(p Profile, u credential.UD) bool {
	return s.Profiles&byte(p) != 0 || s.Classes&(1<<u.Class) != 0 || s.KeyVers&(1<<(u.KeyVer&0x0F)) != 0
}

// check refuses bits that mean nothing: a reader that does not know what is
// switched off must not guess.
func (s Switches) check() error {
	const profiles, classes, keyVers = 0x03, 0x1E, 0xFFFE
	if s.Profiles&^profiles != 0 || s.Classes&^classes != 0 || s.KeyVers&^keyVers != 0 || uint64(s.Cap) > 1<<32-1 {
		return fmt.Errorf("%w: switches that mean nothing", ErrMalformed)
	}
	return nil
}

// ParseSwitches reads exactly 8 bytes.
func ParseSwitches(b []byte) (Switches, error) {
	if len(b) != switchesSize {
		return Switches{}, fmt.Errorf("%w: switches have %d bytes", ErrMalformed, switchesSize)
	}
	s := Switches{b[0], b[1], binary.BigEndian.Uint16(b[2:]), token.Amount(binary.BigEndian.Uint32(b[4:]))}
	return s, s.check()
}

// Bytes prints s; it is the inverse of [ParseSwitches].
func (s Switches) Bytes() (b [switchesSize]byte) {
	b[0], b[1] = s.Profiles, s.Classes
	binary.BigEndian.PutUint16(b[2:], s.KeyVers)
	binary.BigEndian.PutUint32(b[4:], uint32(s.Cap))
	return b
}
