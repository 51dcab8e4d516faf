package message

import (
	"crypto/hmac"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/payload"
)

const (
	receiptVersion = 0xE2
	receiptHead    = 1 + SerialSize + 4 + 4 + 1 + 1 + 4 + 10 + 2 + 2
	receiptDomain  = "tapvault/element/receipt/v1"
	// MaxSlots bounds the slots, and the taps, that an element remembers.
	MaxSlots = 64
	// MaxReceipt is the longest receipt.
	MaxReceipt = receiptHead + 2*MaxSlots + payload.TapSize*MaxSlots + macSize
)

// State is what an element is ready for.
type State byte

// States.
const (
	Issued State = 1
	Erased State = 2
)

// Receipt is what an element says of itself, after a script or when it is asked.
type Receipt struct {
	Serial  Serial
	Seq     uint32 // of the last script that it obeyed
	Number  uint32 // of the receipt; it rises
	State   State
	Tries   byte          // that its PIN has left
	Balance token.Amount  // in fen
	ASN     [10]byte      // of the token that it holds
	Live    []uint16      // counters of slots that can pay, up to [MaxSlots]
	Taps    []payload.Tap // that it remembers, up to [MaxSlots]
}

// Bytes prints r with its MAC.
func (r Receipt) Bytes(k Key) []byte {
	b := append([]byte{receiptVersion}, r.Serial[:]...)
	b = binary.BigEndian.AppendUint32(b, r.Seq)
	b = append(binary.BigEndian.AppendUint32(b, r.Number), byte(r.State), r.Tries)
	b = append(binary.BigEndian.AppendUint32(b, uint32(r.Balance)), r.ASN[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Live)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Taps)))
	for _, c := range r.Live {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	for _, t := range r.Taps {
		b = append(b, t.Bytes()...)
	}
	return append(b, mac(&k, receiptDomain, b)...)
}

// ParseReceipt reads a receipt of one element, whose MAC holds under its key.
func ParseReceipt(b []byte, serial Serial, k Key) (r Receipt, err error) {
	bad := fmt.Errorf("%w: no receipt of this element", token.ErrMalformed)
	if len(b) < receiptHead+macSize || len(b) > MaxReceipt || b[0] != receiptVersion || Serial(b[1:]) != serial || k == (Key{}) {
		return r, bad
	}
	body := b[:len(b)-macSize]
	if !hmac.Equal(mac(&k, receiptDomain, body), b[len(body):]) {
		return r, bad
	}
	p := body[1+SerialSize:]
	r = Receipt{Serial: serial, Seq: binary.BigEndian.Uint32(p), Number: binary.BigEndian.Uint32(p[4:]), State: State(p[8]), Tries: p[9],
		Balance: token.Amount(binary.BigEndian.Uint32(p[10:])), ASN: [10]byte(p[14:])}
	live, taps := int(binary.BigEndian.Uint16(p[24:])), int(binary.BigEndian.Uint16(p[26:]))
	p = p[28:]
	if live > MaxSlots || taps > MaxSlots || len(p) != 2*live+payload.TapSize*taps || r.State < Issued || r.State > Erased {
		return Receipt{}, bad
	}
	for range live {
		r.Live, p = append(r.Live, binary.BigEndian.Uint16(p)), p[2:]
	}
	for range taps {
		t, err := payload.ParseTap(p[:payload.TapSize])
		if err != nil {
			return Receipt{}, err
		}
		r.Taps, p = append(r.Taps, t), p[payload.TapSize:]
	}
	return r, nil
}
