package cryptogram

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Limit is an overdraft limit in fen, 3 bytes big-endian as cards hold it.
type Limit [3]byte

// NewLimit returns the limit of fen, which must fit in 3 bytes.
func NewLimit(fen uint32) (Limit, error) {
	if fen > 0xFFFFFF {
		return Limit{}, fmt.Errorf("%w: an overdraft limit has 3 bytes", ErrMalformed)
	}
	return Limit{byte(fen >> 16), byte(fen >> 8), byte(fen)}, nil
}

// Fen returns the limit in fen.
func (l Limit) Fen() uint32 { return uint32(l[0])<<16 | uint32(l[1])<<8 | uint32(l[2]) }

// Overdraft changes the overdraft limit of a card's electronic deposit. PBOC
// part 2, update overdraw limit transaction.
type Overdraft struct {
	Rand     [4]byte
	Seq      uint16 // card's online counter before it is raised
	Balance  uint32 // fen before the update, as stored: the old limit is part of it
	OldLimit Limit
	NewLimit Limit
	Terminal [6]byte
	At       DateTime // the host's date and time; MAC1 does not cover it
}

// Validate reports whether the fields can belong to one update.
func (o Overdraft) Validate() error {
	after := int64(o.Balance) + int64(o.NewLimit.Fen()) - int64(o.OldLimit.Fen())
	if after < 0 || after > math.MaxUint32 {
		return fmt.Errorf("%w: the stored balance would leave its range", ErrTransaction)
	}
	if !o.At.Valid() {
		return fmt.Errorf("%w: no such date or time", ErrMalformed)
	}
	return nil
}

// NewBalance returns the stored balance after the update. A deposit stores its
// balance with the limit inside, so it moves by the difference of the limits.
func (o Overdraft) NewBalance() uint32 { return o.Balance + o.NewLimit.Fen() - o.OldLimit.Fen() }

// ProcessInput returns rand4 ‖ seq2 ‖ 80 00, under the card's overdraft key.
func (o Overdraft) ProcessInput() [8]byte { return onlineInput(o.Rand, o.Seq) }

// MAC1Input returns balance4 ‖ old limit3 ‖ 07 ‖ terminal6 (14 bytes).
func (o Overdraft) MAC1Input() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 14), o.Balance)
	b = append(b, o.OldLimit[:]...)
	b = append(b, byte(OverdraftUpdate))
	return append(b, o.Terminal[:]...)
}

// MAC2Input returns new limit3 ‖ 07 ‖ terminal6 ‖ date4 ‖ time3 (17 bytes).
func (o Overdraft) MAC2Input() []byte {
	b := append(make([]byte, 0, 17), o.NewLimit[:]...)
	b = append(b, byte(OverdraftUpdate))
	b = append(b, o.Terminal[:]...)
	return append(b, o.At[:]...)
}

// TACInput returns new balance4 ‖ seq2 ‖ new limit3 ‖ 07 ‖ terminal6 ‖ date4 ‖
// time3 (23 bytes). Sources disagree on its key: see [Scheme.OverdraftTAC].
func (o Overdraft) TACInput() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 23), o.NewBalance())
	b = binary.BigEndian.AppendUint16(b, o.Seq)
	return append(b, o.MAC2Input()...)
}

// OverdraftMACs computes MAC1 and MAC2 at the cost of one crossing. MAC2 must
// not leave before MAC1 was found good.
func OverdraftMACs(ctx context.Context, k Keys, key keyref.Path, o Overdraft) (mac1, mac2 [4]byte, err error) {
	macs, err := processMACs(ctx, k, key, o.ProcessInput(), o.MAC1Input(), o.MAC2Input())
	if err != nil {
		return mac1, mac2, fmt.Errorf("computing overdraft MACs: %w", err)
	}
	return macs[0], macs[1], nil
}
