// Package keyblock reads and writes TR-31 (ANSI X9.143) key blocks, check values and key components, over bytes in memory that its caller zeroes.
//
// A key block is text: a clear header of 16 characters and optional blocks, then in hex
// the enciphered key and a MAC over all of it. The key block protection key (KBPK) has 16
// or 24 bytes for Triple DES and 16, 24 or 32 for AES; two keys are derived from it
// ([Derive]), one of which enciphers and the other authenticates. Versions B (Triple
// DES, MAC of 8 bytes) and D (AES, MAC of 16 bytes) are read and written. A and C, whose
// MAC of 4 bytes covers the cipher text only, are read, and only by [UnwrapLegacy].
//
// Keys of an HSM cannot be wrapped: they are not extractable. A key block is made at a
// key's birth, from components, or by a quorum that opens a backup.
package keyblock

import (
	"strings"

	"github.com/tapvault/tapvault/internal/fault"
)

// Errors of this package. None of their messages holds any part of a key.
var (
	// ErrMalformed reports text that is no key block, or a header that cannot
	// be printed as one.
	ErrMalformed = fault.New(fault.Malformed, "malformed key block")
	// ErrRefused reports a block that does not open, whatever the reason: its
	// text, its MAC, its version, the key in it, or a usage that is not ours to
	// take. The reasons look alike on purpose.
	ErrRefused = fault.New(fault.Refused, "key block refused")
	// ErrForbidden reports a header that the rules of usage, algorithm, mode
	// and exportability do not allow.
	ErrForbidden = fault.New(fault.Refused, "key block header not allowed")
	// ErrKey reports a protection key, key or component that cannot be one.
	ErrKey = fault.New(fault.Malformed, "unusable key")
)

// Version says how a block is protected.
type Version byte

// Versions.
const (
	VersionA Version = 'A' // Triple DES, variant keys, MAC over the cipher text; to be read only
	VersionB Version = 'B' // Triple DES, derived keys, MAC over the clear key
	VersionC Version = 'C' // as A
	VersionD Version = 'D' // AES, derived keys, MAC over the clear key
)

// Usage says what a key is for, such as "E0" for the master of EMV application
// cryptograms.
type Usage string

// Algorithm is what a key is used with.
type Algorithm byte

// Algorithms.
const (
	AES  Algorithm = 'A'
	DES  Algorithm = 'D'
	EC   Algorithm = 'E'
	HMAC Algorithm = 'H'
	RSA  Algorithm = 'R'
	DSA  Algorithm = 'S'
	TDES Algorithm = 'T'
)

// Mode is what a key may do: B encipher and decipher, C compute and verify
// MACs, D decipher, E encipher, G generate, S sign, T sign and decipher, V
// verify, X derive other keys, Y make variants.
type Mode byte

// NoLimit leaves the mode to the usage.
const NoLimit Mode = 'N'

// Export says whether a key may be wrapped again under another key.
type Export byte

// Exportabilities.
const (
	Exportable Export = 'E' // under a key of a trusted kind
	Never      Export = 'N'
	Sensitive  Export = 'S' // also under other keys
)

// Header is the clear part of a block, which its MAC covers.
type Header struct {
	Version    Version
	Usage      Usage
	Algorithm  Algorithm
	Mode       Mode
	KeyVersion string // "00": none; "c1" to "c9": a component of a key
	Export     Export
	Context    byte       // '0': by the protection key, '1' storage, '2' exchange
	Optional   []Optional // in order; padding is added when the header is printed
}

// Optional is one optional block of a header.
type Optional struct {
	ID   string // two capitals or digits
	Data string // printable ASCII
}

// Padding is the optional block that fills a header up; it comes last.
const Padding = "PB"

// Component reports whether the block holds a component and not a whole key.
func (h Header) Component() bool { return strings.HasPrefix(h.KeyVersion, "c") }

// Lookup returns the data of an optional block.
func (h Header) Lookup(id string) (data string, ok bool) {
	for _, o := range h.Optional {
		if o.ID == id {
			return o.Data, true
		}
	}
	return "", false
}

// format is what the versions differ in.
type format struct {
	block   int  // of the cipher, which headers and fields are multiples of
	mac     int  // bytes
	derived bool // keys by derivation, and a MAC over the clear key
}

var formats = map[Version]format{
	VersionA: {8, 4, false},
	VersionB: {8, 8, true},
	VersionC: {8, 4, false},
	VersionD: {16, 16, true},
}
