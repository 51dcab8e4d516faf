// Package emv implements the EMV cryptogram formats of issuers over keys it never sees.
//
// What differs from one scheme to the next is a [Profile], which is data: how a
// card's key is derived from the issuer's, how the session key of a transaction is
// derived from that, which fields the cryptogram covers, how they are padded, and
// how the issuer answers. [Keys] applies keys, in an HSM or in memory.
//
// Sections cited are those of EMV 4.3 Book 2. Bytes are as they travel; amounts,
// dates and card numbers are BCD. A cryptogram has 8 bytes, an application
// transaction counter (ATC) 2, an unpredictable number (UN) 4.
//
// Functions that compute return [ErrMalformed] for input that is not in its format,
// or the error of [Keys] as it is; those that compare also return [ErrMismatch].
package emv

import (
	"context"
	"crypto/subtle"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
)

// Sentinels.
var (
	// ErrMalformed reports bytes or text that are not in their format.
	ErrMalformed = fault.New(fault.Malformed, "malformed EMV field")
	// ErrMismatch reports a cryptogram or value that is not the expected one.
	ErrMismatch = fault.New(fault.Refused, "cryptogram refused")
)

// Keys applies EMV keys. Messages of Triple DES come in whole blocks: what pads
// is the profile's business. Safe for concurrent use. An error says nothing
// about any cryptogram: a mismatch is found by the caller.
type Keys interface {
	// MAC3 returns the 8-byte MAC of whole 8-byte blocks by ISO/IEC 9797-1 algorithm 3
	// ("retail MAC") under a 16-byte Triple DES key (A1.2.1).
	MAC3(ctx context.Context, c keyref.Chain, padded []byte) ([8]byte, error)
	// CMAC returns the 16-byte AES-CMAC of a message of any length (A1.2.2).
	CMAC(ctx context.Context, c keyref.Chain, msg []byte) ([16]byte, error)
	// EncipherBlocks enciphers whole 8-byte blocks by Triple DES: in CBC mode from a
	// zero IV when chained, otherwise in ECB mode.
	EncipherBlocks(ctx context.Context, c keyref.Chain, chained bool, blocks []byte) ([]byte, error)
}

// Revealer gives the 16 bytes of a Triple DES key that is made to leave the HSM, for
// a phone, or that a scheme's rule needs in memory. The caller zeroes them.
type Revealer interface {
	Reveal(ctx context.Context, c keyref.Chain) ([]byte, error)
}

// equal compares in constant time.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// Match compares digits in constant time. [ErrMismatch] says that they differ.
func Match(want, got string) error { return match([]byte(want), []byte(got)) }

// match turns a comparison into an error.
func match(a, b []byte) error {
	if !equal(a, b) {
		return ErrMismatch
	}
	return nil
}
