// Package emv implements the EMV cryptogram formats of issuers over keys it never sees.
//
// What differs from one scheme to the next is a [Profile], which is data: how a
// card's key is made of the issuer's, how the key of one transaction is made of
// that, which fields are put together, how they are padded, and how the issuer
// answers. [Keys] applies keys, in an HSM or in memory. Bytes are as they
// travel; amounts, dates and numbers of cards are BCD.
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
	// MAC3 returns the MAC by algorithm 3 of ISO 9797-1.
	MAC3(ctx context.Context, c keyref.Chain, padded []byte) ([8]byte, error)
	// CMAC returns the AES-CMAC.
	CMAC(ctx context.Context, c keyref.Chain, msg []byte) ([16]byte, error)
	// EncipherBlocks enciphers blocks of Triple DES, each by itself or chained
	// from a zero start.
	EncipherBlocks(ctx context.Context, c keyref.Chain, chained bool, blocks []byte) ([]byte, error)
}

// Revealer gives keys that are made to leave, to go to a phone, or that a rule
// of a scheme needs in memory. The caller zeroes them.
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
