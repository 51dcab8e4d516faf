package credential

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/token"
)

// ProofSize is the length of a device proof.
const ProofSize = 72

// PresentationSize is the length of what a phone shows: 01, use descriptor,
// credential, device proof.
const PresentationSize = 1 + UDSize + Size + ProofSize

const (
	proofDomain         = "HCE-DP-1"
	presentationVersion = 1
)

// Proof is a device's own, short-lived signature over one slot. The zero value
// is no proof.
type Proof struct {
	Ctr       uint16
	Made      time.Time // whole seconds
	Valid     time.Duration
	Signature [sigSize]byte
}

// IsZero reports whether p is no proof.
func (p Proof) IsZero() bool { return p == Proof{} }

// ParseProof reads exactly [ProofSize] bytes; zeros are no proof.
func ParseProof(b []byte) (Proof, error) {
	if len(b) != ProofSize {
		return Proof{}, fmt.Errorf("%w: a device proof has %d bytes", token.ErrMalformed, ProofSize)
	}
	if [ProofSize]byte(b) == [ProofSize]byte{} {
		return Proof{}, nil
	}
	p := Proof{
		Ctr:       binary.BigEndian.Uint16(b),
		Made:      time.Unix(int64(binary.BigEndian.Uint32(b[2:])), 0).UTC(),
		Valid:     time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second,
		Signature: [sigSize]byte(b[8:]),
	}
	if p.Signature == [sigSize]byte{} {
		return Proof{}, fmt.Errorf("%w: device proof without a signature", token.ErrMalformed)
	}
	return p, nil
}

// Bytes prints p; it is the inverse of [ParseProof].
func (p Proof) Bytes() [ProofSize]byte {
	var b [ProofSize]byte
	if p.IsZero() {
		return b
	}
	binary.BigEndian.PutUint16(b[:], p.Ctr)
	binary.BigEndian.PutUint32(b[2:], uint32(p.Made.Unix()))
	binary.BigEndian.PutUint16(b[6:], uint16(p.Valid/time.Second))
	copy(b[8:], p.Signature[:])
	return b
}

// Digest is what the device signs: p's head bound to credential and slot.
func (p Proof) Digest(c Credential, u UD) [32]byte {
	cb, ub, pb := c.Bytes(), u.Bytes(), p.Bytes()
	sum := sha256.Sum256(cb[:])
	msg := append([]byte(proofDomain), sum[:]...)
	return sha256.Sum256(append(append(msg, ub[:]...), pb[:8]...))
}

// Verify reports [ErrUntrusted] unless the device key of c signed p for u.
// Whether p is fresh is the reader's question.
func (p Proof) Verify(c Credential, u UD) error {
	k, err := c.device()
	if err != nil || p.IsZero() || p.Ctr != u.Ctr || !verify(k, p.Digest(c, u), p.Signature) {
		return ErrUntrusted
	}
	return nil
}

// Presentation is what a phone shows before a purchase.
type Presentation struct {
	UD         UD
	Credential Credential
	Proof      Proof
}

// ParsePresentation reads exactly [PresentationSize] bytes.
func ParsePresentation(b []byte) (p Presentation, err error) {
	if len(b) != PresentationSize || b[0] != presentationVersion {
		return p, fmt.Errorf("%w: a presentation has %d bytes and version 1", token.ErrMalformed, PresentationSize)
	}
	if p.UD, err = ParseUD(b[1 : 1+UDSize]); err != nil {
		return Presentation{}, err
	}
	if p.Credential, err = Parse(b[1+UDSize : 1+UDSize+Size]); err != nil {
		return Presentation{}, err
	}
	if p.Proof, err = ParseProof(b[1+UDSize+Size:]); err != nil {
		return Presentation{}, err
	}
	return p, nil
}

// Bytes prints p; it is the inverse of [ParsePresentation].
func (p Presentation) Bytes() []byte {
	u, c, d := p.UD.Bytes(), p.Credential.Bytes(), p.Proof.Bytes()
	b := append([]byte{presentationVersion}, u[:]...)
	return append(append(b, c[:]...), d[:]...)
}
