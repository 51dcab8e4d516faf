package payload

import (
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// TapSize is the length of a [Tap] in bytes.
const TapSize = 1 + 6 + 8 + 10 + credential.UDSize + 4 + 2 + 4 + 1 + 4 + 7 + 2 + 4 + 12 + 8

const tapVersion = 0xC1

// Tap is one purchase as the phone that paid remembers it. It holds MACs that
// would let whoever reads them test PINs, so a phone keeps and sends it sealed
// to the service and in no other form.
type Tap struct {
	Terminal    [6]byte
	Issuer      [8]byte
	Number      token.Number
	UD          credential.UD
	Rand        [4]byte
	Seq         uint16
	Amount      token.Amount
	Type        byte
	TermSeq     uint32
	At          [7]byte // date and time as the terminal sent them, BCD
	KeyVersion  byte
	Algorithm   byte
	Balance     uint32
	MAC1        [4]byte
	MAC2        [4]byte
	TAC         [4]byte
	ListVersion uint64 // 0: a phone is not told
}

// ParseTap reads exactly [TapSize] bytes.
func ParseTap(b []byte) (t Tap, err error) {
	if len(b) != TapSize || b[0] != tapVersion {
		return t, fmt.Errorf("%w: a remembered tap has %d bytes and a known version", token.ErrMalformed, TapSize)
	}
	take := func(n int) (out []byte) { out, b = b[:n], b[n:]; return out }
	take(1)
	t.Terminal, t.Issuer = [6]byte(take(6)), [8]byte(take(8))
	if t.Number, err = parseASN([10]byte(take(10))); err != nil {
		return Tap{}, err
	}
	if t.UD, err = credential.ParseUD(take(credential.UDSize)); err != nil {
		return Tap{}, err
	}
	t.Rand, t.Seq = [4]byte(take(4)), binary.BigEndian.Uint16(take(2))
	t.Amount, t.Type = token.Amount(binary.BigEndian.Uint32(take(4))), take(1)[0]
	t.TermSeq, t.At = binary.BigEndian.Uint32(take(4)), [7]byte(take(7))
	t.KeyVersion, t.Algorithm = take(1)[0], take(1)[0]
	t.Balance = binary.BigEndian.Uint32(take(4))
	t.MAC1, t.MAC2, t.TAC = [4]byte(take(4)), [4]byte(take(4)), [4]byte(take(4))
	t.ListVersion = binary.BigEndian.Uint64(take(8))
	return t, nil
}

// Bytes prints t; it is the inverse of [ParseTap]. The caller zeroes the result
// when it is sealed.
func (t Tap) Bytes() []byte {
	asn, ud := t.Number.ASN(), t.UD.Bytes()
	b := append(make([]byte, 0, TapSize), tapVersion)
	b = append(append(append(append(b, t.Terminal[:]...), t.Issuer[:]...), asn[:]...), ud[:]...)
	b = binary.BigEndian.AppendUint16(append(b, t.Rand[:]...), t.Seq)
	b = append(binary.BigEndian.AppendUint32(b, uint32(t.Amount)), t.Type)
	b = append(binary.BigEndian.AppendUint32(b, t.TermSeq), t.At[:]...)
	b = binary.BigEndian.AppendUint32(append(b, t.KeyVersion, t.Algorithm), t.Balance)
	b = append(append(append(b, t.MAC1[:]...), t.MAC2[:]...), t.TAC[:]...)
	return binary.BigEndian.AppendUint64(b, t.ListVersion)
}

// parseASN reads a number as file 0015 shows it: right-aligned digits behind
// zeros.
func parseASN(b [10]byte) (token.Number, error) {
	digits := make([]byte, 0, 20)
	for i := range 20 {
		n := b[i/2] >> (4 * (1 - i%2)) & 0x0F
		if n > 9 {
			return token.Number{}, fmt.Errorf("%w: token number of a tap is not BCD", token.ErrMalformed)
		}
		if len(digits) > 0 || n != 0 {
			digits = append(digits, '0'+n)
		}
	}
	return token.ParseNumber(string(digits))
}
