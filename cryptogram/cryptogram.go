// Package cryptogram implements the PBOC electronic-purse formats over keys it
// never sees.
//
// A format turns the fields of one transaction into the bytes that a key is
// applied to; [Keys] applies the key, in an HSM or in memory. The formats are those of
// the PBOC specification, part 2 (application of the electronic deposit and electronic
// purse), as transit schemes use them; a [Scheme] holds what differs from one scheme to
// the next.
//
// Money is in minor units (fen), integers travel big-endian, dates and times are BCD.
// Every MAC and TAC has 4 bytes. In the comments a name followed by a digit is a field
// and its length in bytes: amount4 ‖ type1 is five bytes.
//
// Functions that compute MACs neither validate the transaction, which its Validate method
// and [Scheme.Purchase] do, nor compare anything, which [Match] does. Their errors are
// those of [Keys].
package cryptogram

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Errors of this package; all are of a kind of internal/fault.
var (
	// ErrMalformed reports bytes or text that are not in their format.
	ErrMalformed = fault.New(fault.Malformed, "malformed transaction field")
	// ErrTransaction reports well-formed fields that cannot belong to one
	// transaction, such as an unload of more than the balance.
	ErrTransaction = fault.New(fault.TransactionBad, "these fields cannot belong to one transaction")
	// ErrNoKey reports a key version, algorithm or usage that a scheme lacks.
	ErrNoKey = fault.New(fault.RealmUnknown, "the realm has no such key")
	// ErrMismatch reports a MAC or TAC that is not the expected one.
	ErrMismatch = fault.New(fault.Refused, "cryptogram refused")
)

// Keys applies keys to messages, by the algorithm that the key's usage names: Triple
// DES, or SM4 for usages of type [keyref.SM4].
//
// Messages are passed as they are: implementations pad each with 80 and then zeros to a
// multiple of the block. A MAC is the left 4 bytes of the last block of CBC.
//
// The methods describe Triple DES, with 16-byte keys and 8-byte blocks. For SM4, with
// 16-byte keys and blocks, a key K is diversified to SM4-E(K, factor ‖ its complement)
// and the process key is SM4-E(DK, input ‖ its complement). A TAC key of SM4 is used
// whole, so it has a RetailMAC and no FoldedMAC.
//
// Implementations are safe for concurrent use. An error says nothing about any MAC: a
// mismatch is found by the caller.
type Keys interface {
	// ProcessMAC diversifies along key to DK, makes the process key
	// SK = 3DES-E(DK, input), and returns the single-DES CBC-MAC under SK of
	// each message, in order. One call costs one crossing into an HSM.
	ProcessMAC(ctx context.Context, key keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error)
	// FoldedMAC returns the single-DES CBC-MAC of msg under left xor right of
	// the diversified key (PBOC's TAC). A path without levels names a key of usage
	// [keyref.FoldedTAC], which was folded when it was imported.
	FoldedMAC(ctx context.Context, key keyref.Path, msg []byte) ([4]byte, error)
	// RetailMAC returns the ISO/IEC 9797-1 algorithm 3 MAC of msg under the
	// 16-byte diversified key. A path without levels names a key of usage
	// [keyref.RetailTAC].
	RetailMAC(ctx context.Context, key keyref.Path, msg []byte) ([4]byte, error)
}

// Match compares two MACs in constant time.
func Match(a, b [4]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// Type is the transaction type byte that goes into MACs and records.
type Type byte

// Transaction types.
const (
	LoadDeposit     Type = 0x01 // load of the electronic deposit
	LoadPurse       Type = 0x02 // load of the electronic purse
	UnloadDeposit   Type = 0x03
	CashWithdrawal  Type = 0x04
	PurchaseDeposit Type = 0x05
	PurchasePurse   Type = 0x06
	OverdraftUpdate Type = 0x07
	PurchaseCAPP    Type = 0x09 // composite application purchase, all transit taps
)

// onlineInput is the process-key input of the transactions that use the online
// counter: rand4 ‖ seq2 ‖ 80 00.
func onlineInput(rand [4]byte, seq uint16) (in [8]byte) {
	copy(in[:], rand[:])
	binary.BigEndian.PutUint16(in[4:], seq)
	in[6] = 0x80
	return in
}

// processMACs computes one MAC for each message, and fails when an
// implementation answers another number of them.
func processMACs(ctx context.Context, k Keys, key keyref.Path, input [8]byte, msgs ...[]byte) ([][4]byte, error) {
	macs, err := k.ProcessMAC(ctx, key, input, msgs...)
	if err == nil && len(macs) != len(msgs) {
		err = fmt.Errorf("%d MACs answered for %d messages", len(macs), len(msgs))
	}
	return macs, err
}
