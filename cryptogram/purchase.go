package cryptogram

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Purchase is an offline transaction between a card and a terminal's security
// module: purchase (05, 06), cash withdrawal (04) or composite purchase (09).
// PBOC part 2, purchase and cash withdrawal transactions.
type Purchase struct {
	Rand     [4]byte  // card's random number, from INITIALIZE
	Seq      uint16   // card's offline counter before it is raised, from INITIALIZE
	Amount   uint32   // fen
	Type     Type     // 04, 05, 06 or 09
	Terminal [6]byte  // terminal number
	TermSeq  uint32   // terminal transaction serial; the process key sees its low 16 bits
	At       DateTime // terminal's date and time
	AuthCode *[9]byte // code that some city cards append to the MAC1 input; nil: none
}

// Validate reports whether the fields can belong to one purchase.
func (p Purchase) Validate() error {
	switch p.Type {
	case CashWithdrawal, PurchaseDeposit, PurchasePurse, PurchaseCAPP:
	default:
		return fmt.Errorf("%w: a purchase has type 4, 5, 6 or 9", ErrTransaction)
	}
	if !p.At.Valid() {
		return fmt.Errorf("%w: no such date or time", ErrMalformed)
	}
	return nil
}

// ProcessInput returns rand4 ‖ seq2 ‖ low 2 bytes of the terminal serial: the
// input of the process key under the card's purchase key.
func (p Purchase) ProcessInput() (in [8]byte) {
	copy(in[:], p.Rand[:])
	binary.BigEndian.PutUint16(in[4:], p.Seq)
	binary.BigEndian.PutUint16(in[6:], uint16(p.TermSeq))
	return in
}

// MAC1Input returns amount4 ‖ type1 ‖ terminal6 ‖ date4 ‖ time3 (18 bytes), and
// the 9-byte code when there is one. The security module makes MAC1.
func (p Purchase) MAC1Input() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 27), p.Amount)
	b = append(b, byte(p.Type))
	b = append(b, p.Terminal[:]...)
	b = append(b, p.At[:]...)
	if p.AuthCode != nil {
		b = append(b, p.AuthCode[:]...)
	}
	return b
}

// MAC2Input returns amount4. The card makes MAC2.
func (p Purchase) MAC2Input() []byte { return binary.BigEndian.AppendUint32(nil, p.Amount) }

// TACInput returns amount4 ‖ type1 ‖ terminal6 ‖ serial4 ‖ date4 ‖ time3 (22
// bytes). The card makes the TAC under its TAC key, without a process key, so
// neither its counter nor its random number is covered.
func (p Purchase) TACInput() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 22), p.Amount)
	b = append(b, byte(p.Type))
	b = append(b, p.Terminal[:]...)
	b = binary.BigEndian.AppendUint32(b, p.TermSeq)
	return append(b, p.At[:]...)
}

// PurchaseMAC1 computes MAC1 alone.
func PurchaseMAC1(ctx context.Context, k Keys, key keyref.Path, p Purchase) (mac1 [4]byte, err error) {
	macs, err := processMACs(ctx, k, key, p.ProcessInput(), p.MAC1Input())
	if err != nil {
		return mac1, fmt.Errorf("computing purchase MAC1: %w", err)
	}
	return macs[0], nil
}

// PurchaseMACs computes MAC1 and MAC2 at the cost of one crossing.
func PurchaseMACs(ctx context.Context, k Keys, key keyref.Path, p Purchase) (mac1, mac2 [4]byte, err error) {
	macs, err := processMACs(ctx, k, key, p.ProcessInput(), p.MAC1Input(), p.MAC2Input())
	if err != nil {
		return mac1, mac2, fmt.Errorf("computing purchase MACs: %w", err)
	}
	return macs[0], macs[1], nil
}
