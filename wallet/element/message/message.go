// Package message reads and prints what a service and a secure element say to
// each other: scripts one way, receipts the other.
//
// Couriers carry both. They can lose, repeat and reorder them, and read what is
// not enciphered, which is what a terminal sees anyway; they can change nothing.
//
// A script is: version D2, [Verb] (1 byte), serial number (8), script number (4), body,
// proof. The proof is a MAC of 16 bytes, the left half of HMAC-SHA256 under the
// element's script key; an [Issue], which brings that key, has the issuer's ECDSA P-256
// signature r‖s of 64 bytes over SHA-256 instead. Both are over a domain string and all
// that stands before them. A receipt has version E2 and such a MAC. Numbers are
// big-endian. What is not in this form, or not proven, is [token.ErrMalformed].
package message

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/tapvault/tapvault/token"
)

const (
	// SerialSize is the length of an element's serial number.
	SerialSize = 8
	// KeySize is the length of an element's script key.
	KeySize = 16
	// MaxScript bounds a script with what proves it.
	MaxScript = 2048

	scriptVersion = 0xD2
	headSize      = 1 + 1 + SerialSize + 4
	macSize       = 16
	signatureSize = 64
	scriptDomain  = "tapvault/element/script/v1"
)

// Serial is an element's serial number.
type Serial [SerialSize]byte

// Key is an element's script key: scripts to it and receipts from it are under
// it, each in a domain of its own.
type Key [KeySize]byte

// Verb is what a script makes an element do.
type Verb byte

// Verbs.
const (
	Issue    Verb = 1 // hold a token, its keys, and a script key
	SetLimit Verb = 2 // take more slots, whose money is reserved
	Unblock  Verb = 3 // give the PIN its tries back, and perhaps another value
	Erase    Verb = 4 // forget token, keys and slots for good
)

// Script is an order to one element. Numbers rise by one: an element obeys the
// next one and no other.
type Script struct {
	Verb   Verb
	Serial Serial
	Seq    uint32
	Body   []byte // an [Application], a [Limit], what [Secret] prints enciphered, or nothing
}

func (s Script) bytes() []byte {
	b := append([]byte{scriptVersion, byte(s.Verb)}, s.Serial[:]...)
	return append(binary.BigEndian.AppendUint32(b, s.Seq), s.Body...)
}

// MAC prints s with its MAC under the element's script key. An [Issue] is signed
// instead: it brings that key.
func (s Script) MAC(k Key) []byte {
	b := s.bytes()
	return append(b, mac(&k, scriptDomain, b)...)
}

// Digest is what the issuer signs of an [Issue].
func (s Script) Digest() [32]byte { return digest(s.bytes()) }

func digest(b []byte) [32]byte { return sha256.Sum256(append([]byte(scriptDomain), b...)) }

// Signed prints s with the issuer's signature r‖s over [Script.Digest].
func (s Script) Signed(signature [64]byte) []byte { return append(s.bytes(), signature[:]...) }

// Peek reads the verb and number of a script whose proof is not checked yet.
func Peek(b []byte) (Verb, uint32, error) {
	if len(b) < headSize+macSize || len(b) > MaxScript || b[0] != scriptVersion {
		return 0, 0, errScript()
	}
	return Verb(b[1]), binary.BigEndian.Uint32(b[2+SerialSize:]), nil
}

func errScript() error { return fmt.Errorf("%w: no script for this element", token.ErrMalformed) }

// ParseScript reads a script whose MAC holds under k or, of an [Issue], whose signature
// holds under issuer. A key of zeros, or no issuer, proves nothing.
func ParseScript(b []byte, k *Key, issuer *ecdsa.PublicKey) (s Script, err error) {
	verb, seq, err := Peek(b)
	if err != nil {
		return s, err
	}
	tail := macSize
	if verb == Issue {
		tail = signatureSize
	}
	if len(b) < headSize+tail || verb < Issue || verb > Erase {
		return s, errScript()
	}
	body, proof := b[:len(b)-tail], b[len(b)-tail:]
	ok := false
	if verb == Issue {
		d := digest(body)
		ok = issuer != nil && ecdsa.Verify(issuer, d[:], new(big.Int).SetBytes(proof[:32]), new(big.Int).SetBytes(proof[32:]))
	} else {
		ok = *k != Key{} && hmac.Equal(mac(k, scriptDomain, body), proof)
	}
	if !ok {
		return s, errScript()
	}
	return Script{Verb: verb, Serial: Serial(body[2:]), Seq: seq, Body: append([]byte(nil), body[headSize:]...)}, nil
}

func mac(k *Key, domain string, b []byte) []byte {
	m := hmac.New(sha256.New, k[:])
	m.Write([]byte(domain))
	m.Write(b)
	return m.Sum(nil)[:macSize]
}
