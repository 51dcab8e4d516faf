package cryptogram

import (
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// SAMInit is the data field of INIT SAM FOR PURCHASE (80 70), with which a
// terminal asks its security module for MAC1: 14h bytes and 8 for each level
// of diversification.
type SAMInit struct {
	Rand       [4]byte
	Seq        uint16
	Amount     uint32
	Type       Type
	At         DateTime
	KeyVersion byte // as the card named it
	Algorithm  byte
	// Factors diversify the module's master; the first is nearest to the card
	// (its serial number, or a phone's use descriptor), the last nearest to the
	// root. One to three.
	Factors []keyref.Factor
}

const samHead = 0x14

// ParseSAMInit reads the data field. It checks its shape only: whether the
// date exists is [Purchase.Validate]'s business.
func ParseSAMInit(data []byte) (SAMInit, error) {
	levels := (len(data) - samHead) / 8
	if levels < 1 || levels > keyref.MaxLevels || len(data) != samHead+8*levels {
		return SAMInit{}, fmt.Errorf("%w: INIT SAM takes 14h bytes and 8 for each of 1 to 3 levels", ErrMalformed)
	}
	s := SAMInit{
		Rand:       [4]byte(data),
		Seq:        binary.BigEndian.Uint16(data[4:]),
		Amount:     binary.BigEndian.Uint32(data[6:]),
		Type:       Type(data[10]),
		At:         DateTime(data[11:]),
		KeyVersion: data[18],
		Algorithm:  data[19],
		Factors:    make([]keyref.Factor, levels),
	}
	for i := range s.Factors {
		s.Factors[i] = keyref.Factor(data[samHead+8*i:])
	}
	return s, nil
}

// Bytes is the inverse of [ParseSAMInit].
func (s SAMInit) Bytes() []byte {
	b := append(make([]byte, 0, samHead+8*len(s.Factors)), s.Rand[:]...)
	b = binary.BigEndian.AppendUint16(b, s.Seq)
	b = binary.BigEndian.AppendUint32(b, s.Amount)
	b = append(b, byte(s.Type))
	b = append(b, s.At[:]...)
	b = append(b, s.KeyVersion, s.Algorithm)
	for _, f := range s.Factors {
		b = append(b, f[:]...)
	}
	return b
}

// Path returns the way from the module's master to the card's key: the
// factors in the reverse of their order on the wire.
func (s SAMInit) Path(master keyref.Ref) (keyref.Path, error) {
	p := keyref.Path{Key: master}
	for i := len(s.Factors) - 1; i >= 0; i-- {
		var err error
		if p, err = p.Append(s.Factors[i]); err != nil {
			return keyref.Path{}, err
		}
	}
	return p, nil
}

// Purchase returns the purchase that the module with the given terminal number
// makes MAC1 for, under its next serial.
func (s SAMInit) Purchase(terminal [6]byte, serial uint32) Purchase {
	return Purchase{Rand: s.Rand, Seq: s.Seq, Amount: s.Amount, Type: s.Type,
		Terminal: terminal, TermSeq: serial, At: s.At}
}
