package terminal

import (
	"encoding/hex"
	"strings"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
)

// Tap is the record of one purchase, as the clearing house needs it to compute
// MAC2 and TAC again.
type Tap struct {
	Terminal    [6]byte
	Issuer      [8]byte // file 0015
	ASN         [10]byte
	Phone       bool          // a slot of a phone; UD is then set
	UD          credential.UD // which slot
	Rand        [4]byte
	Seq         uint16
	Amount      token.Amount
	Type        cryptogram.Type
	TermSeq     uint32
	At          cryptogram.DateTime // in the reader's zone
	KeyVer      byte
	AlgID       byte
	Balance     uint32 // as the card said; no MAC covers it
	MAC1        [4]byte
	MAC2        [4]byte
	TAC         [4]byte // only the issuer can check it
	ListVersion uint64  // of the deny list
	Proof       bool    // a device proof was shown and held
	// Fail says why a tap was refused after the phone had answered. Empty: the
	// rider was let through. Only [BadMAC2], [Module] and [Declined] do that: a
	// tap that is refused earlier has burned no slot and proves nothing.
	Fail Refusal
}

// Number is the token number of a phone's tap, and zero for other cards.
func (t Tap) Number() token.Number {
	n, err := token.ParseNumber(strings.TrimLeft(hex.EncodeToString(t.ASN[:]), "0"))
	if err != nil || !t.Phone {
		return token.Number{}
	}
	return n
}

// Purchase is the transaction as MACs see it.
func (t Tap) Purchase() cryptogram.Purchase {
	return cryptogram.Purchase{Rand: t.Rand, Seq: t.Seq, Amount: uint32(t.Amount), Type: t.Type,
		Terminal: t.Terminal, TermSeq: t.TermSeq, At: t.At}
}

// spent names a slot that paid here.
type spent struct {
	asn [10]byte
	ctr uint16
}

func (t Tap) slot() spent { return spent{t.ASN, t.UD.Ctr} }
