package cryptogram

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Load puts money on a card: the card's MAC1 proves what it holds, the host's
// MAC2 orders the credit, the card's TAC acknowledges it. PBOC part 2, load
// transaction.
type Load struct {
	Rand     [4]byte // card's random number
	Seq      uint16  // card's online counter before it is raised
	Balance  uint32  // fen before the load
	Amount   uint32  // fen
	Type     Type    // 01 or 02
	Terminal [6]byte
	At       DateTime // the host's date and time; MAC1 does not cover it
}

// Validate reports whether the fields can belong to one load.
func (l Load) Validate() error {
	if l.Type != LoadDeposit && l.Type != LoadPurse {
		return fmt.Errorf("%w: a load has type 1 or 2", ErrTransaction)
	}
	if l.Amount > math.MaxUint32-l.Balance {
		return fmt.Errorf("%w: the balance would overflow", ErrTransaction)
	}
	if !l.At.Valid() {
		return fmt.Errorf("%w: no such date or time", ErrMalformed)
	}
	return nil
}

// ProcessInput returns rand4 ‖ seq2 ‖ 80 00, under the card's load key.
func (l Load) ProcessInput() [8]byte { return onlineInput(l.Rand, l.Seq) }

// MAC1Input returns balance4 ‖ amount4 ‖ type1 ‖ terminal6 (15 bytes).
func (l Load) MAC1Input() []byte { return cardProof(l.Balance, l.Amount, l.Type, l.Terminal) }

// MAC2Input returns amount4 ‖ type1 ‖ terminal6 ‖ date4 ‖ time3 (18 bytes).
func (l Load) MAC2Input() []byte { return hostOrder(l.Amount, l.Type, l.Terminal, l.At) }

// TACInput returns new balance4 ‖ seq2 ‖ amount4 ‖ type1 ‖ terminal6 ‖ date4 ‖
// time3 (24 bytes); seq is the counter before it was raised.
func (l Load) TACInput() []byte {
	return cardReceipt(l.Balance+l.Amount, l.Seq, l.Amount, l.Type, l.Terminal, l.At)
}

// LoadMACs computes MAC1 and MAC2 at the cost of one crossing. MAC2 must not
// leave before MAC1 was found good.
func LoadMACs(ctx context.Context, k Keys, key keyref.Path, l Load) (mac1, mac2 [4]byte, err error) {
	macs, err := processMACs(ctx, k, key, l.ProcessInput(), l.MAC1Input(), l.MAC2Input())
	if err != nil {
		return mac1, mac2, fmt.Errorf("computing load MACs: %w", err)
	}
	return macs[0], macs[1], nil
}

// Unload takes money off a card's electronic deposit. Its acknowledgement,
// MAC3, is made under the process key and not under the TAC key. PBOC part 2,
// unload transaction.
type Unload struct {
	Rand     [4]byte
	Seq      uint16 // card's online counter before it is raised
	Balance  uint32 // fen before the unload
	Amount   uint32 // fen
	Terminal [6]byte
	At       DateTime // the host's date and time; MAC1 does not cover it
}

// Validate reports whether the fields can belong to one unload.
func (u Unload) Validate() error {
	if u.Amount > u.Balance {
		return fmt.Errorf("%w: more is unloaded than the card holds", ErrTransaction)
	}
	if !u.At.Valid() {
		return fmt.Errorf("%w: no such date or time", ErrMalformed)
	}
	return nil
}

// ProcessInput returns rand4 ‖ seq2 ‖ 80 00, under the card's unload key.
func (u Unload) ProcessInput() [8]byte { return onlineInput(u.Rand, u.Seq) }

// MAC1Input returns balance4 ‖ amount4 ‖ 03 ‖ terminal6 (15 bytes).
func (u Unload) MAC1Input() []byte {
	return cardProof(u.Balance, u.Amount, UnloadDeposit, u.Terminal)
}

// MAC2Input returns amount4 ‖ 03 ‖ terminal6 ‖ date4 ‖ time3 (18 bytes).
func (u Unload) MAC2Input() []byte { return hostOrder(u.Amount, UnloadDeposit, u.Terminal, u.At) }

// MAC3Input returns new balance4 ‖ seq2 ‖ amount4 ‖ 03 ‖ terminal6 ‖ date4 ‖
// time3 (24 bytes); seq is the counter before it was raised.
func (u Unload) MAC3Input() []byte {
	return cardReceipt(u.Balance-u.Amount, u.Seq, u.Amount, UnloadDeposit, u.Terminal, u.At)
}

// UnloadMACs computes MAC1, MAC2 and MAC3 at the cost of one crossing. MAC2
// must not leave before MAC1 was found good, and MAC3 must never leave.
func UnloadMACs(ctx context.Context, k Keys, key keyref.Path, u Unload) (mac1, mac2, mac3 [4]byte, err error) {
	macs, err := processMACs(ctx, k, key, u.ProcessInput(), u.MAC1Input(), u.MAC2Input(), u.MAC3Input())
	if err != nil {
		return mac1, mac2, mac3, fmt.Errorf("computing unload MACs: %w", err)
	}
	return macs[0], macs[1], macs[2], nil
}

// cardProof is balance4 ‖ amount4 ‖ type1 ‖ terminal6.
func cardProof(balance, amount uint32, t Type, terminal [6]byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 15), balance)
	b = binary.BigEndian.AppendUint32(b, amount)
	b = append(b, byte(t))
	return append(b, terminal[:]...)
}

// hostOrder is amount4 ‖ type1 ‖ terminal6 ‖ date4 ‖ time3.
func hostOrder(amount uint32, t Type, terminal [6]byte, at DateTime) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 18), amount)
	b = append(b, byte(t))
	b = append(b, terminal[:]...)
	return append(b, at[:]...)
}

// cardReceipt is balance4 ‖ seq2 ‖ amount4 ‖ type1 ‖ terminal6 ‖ date4 ‖ time3.
func cardReceipt(balance uint32, seq uint16, amount uint32, t Type, terminal [6]byte, at DateTime) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 24), balance)
	b = binary.BigEndian.AppendUint16(b, seq)
	return append(b, hostOrder(amount, t, terminal, at)...)
}
