package deny

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Policy is what those who run the scheme tell every terminal.
type Policy struct {
	Head
	AID       []byte        // application to select, 5 to 16 bytes
	Tolerance time.Duration // clocks may disagree by that much, whole seconds
	// Proof lists the classes that demand a device proof of every phone.
	// [Vehicle] is always one of them.
	Proof  []Class
	Ranges []Range
	// Issuers are the keys that credentials are verified with, by key id.
	Issuers map[uint16]*ecdsa.PublicKey
}

// Range is a block of numbers and how keys lead to its members: at two levels
// to a card, at three to a slot of a phone. What no range names is a card.
type Range struct {
	Prefix string // 1 to 18 digits
	Length int    // 13 to 19
	Levels int    // 2 or 3
}

const (
	classBits  = "GVM" // bit i stands for class classBits[i]
	pointSize  = 33
	maxEachOne = 255 // ranges and keys of one policy
)

// Sign prints p with its signature.
func (p Policy) Sign(with Sign) ([]byte, error) {
	b := p.append(nil, policyFormat)
	b = append(append(b, byte(len(p.AID))), p.AID...)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Tolerance/time.Second))
	var bits byte
	for _, c := range p.Proof {
		bits |= 1 << max(strings.IndexByte(classBits, byte(c)), 0)
	}
	b = append(b, bits, byte(len(p.Ranges)))
	for _, r := range p.Ranges {
		b = append(append(b, byte(len(r.Prefix))), r.Prefix...)
		b = append(b, byte(r.Length), byte(r.Levels))
	}
	b = append(b, byte(len(p.Issuers)))
	for _, id := range slices.Sorted(maps.Keys(p.Issuers)) {
		point, err := compress(p.Issuers[id])
		if err != nil {
			return nil, err
		}
		b = append(binary.BigEndian.AppendUint16(b, id), point...)
	}
	doc, err := sign(policyDomain, b, with)
	if err != nil {
		return nil, err
	}
	_, err = ParsePolicy(doc) // what no reader would take is not given out
	return doc, err
}

func compress(k *ecdsa.PublicKey) ([]byte, error) {
	if k == nil || k.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: an issuer key that is not of P-256", ErrMalformed)
	}
	point, err := k.Bytes()
	if err != nil {
		return nil, fmt.Errorf("printing an issuer key: %w", err)
	}
	return append([]byte{2 + point[64]&1}, point[1:pointSize]...), nil
}

func decompress(b []byte) (*ecdsa.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), b)
	if x == nil {
		return nil, fmt.Errorf("%w: an issuer key that is no point", ErrMalformed)
	}
	point := append([]byte{4}, make([]byte, 64)...)
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// OpenPolicy reads a policy that a pinned key signed and that is in force.
func OpenPolicy(doc []byte, pinned Keys, now time.Time) (Policy, error) {
	if err := verify(policyDomain, doc, pinned); err != nil {
		return Policy{}, err
	}
	p, err := ParsePolicy(doc)
	if err != nil {
		return Policy{}, err
	}
	if !now.Before(p.Until) {
		return Policy{}, fmt.Errorf("%w: a policy that has ended", ErrOrder)
	}
	return p, nil
}

// ParsePolicy reads a policy. It checks form, not the signature.
func ParsePolicy(doc []byte) (p Policy, err error) {
	h, b, _, err := parseHead(doc, policyFormat)
	if err != nil {
		return p, err
	}
	r := &reader{b: b}
	p.Head = h
	p.AID = r.take(int(r.byte()))
	p.Tolerance = time.Duration(r.uint16()) * time.Second
	bits := r.byte()
	for i := range classBits {
		if bits&(1<<i) != 0 {
			p.Proof = append(p.Proof, Class(classBits[i]))
		}
	}
	for range r.byte() {
		p.Ranges = append(p.Ranges, Range{string(r.take(int(r.byte()))), int(r.byte()), int(r.byte())})
	}
	last := -1
	for range r.byte() {
		id, point := r.uint16(), r.take(pointSize)
		if r.bad {
			break
		}
		k, err := decompress(point)
		if err != nil || int(id) <= last {
			return Policy{}, fmt.Errorf("%w: issuer keys of a policy", ErrMalformed)
		}
		if last = int(id); p.Issuers == nil {
			p.Issuers = map[uint16]*ecdsa.PublicKey{}
		}
		p.Issuers[id] = k
	}
	if r.bad || len(r.b) != 0 || bits>>len(classBits) != 0 {
		return Policy{}, fmt.Errorf("%w: a policy of another length", ErrMalformed)
	}
	return p, p.check()
}

func (p Policy) check() error {
	ok := len(p.AID) >= 5 && len(p.AID) <= 16 && slices.Contains(p.Proof, Vehicle)
	phones := false
	for _, r := range p.Ranges {
		ok = ok && r.Length >= 13 && r.Length <= 19 && len(r.Prefix) >= 1 && len(r.Prefix) < r.Length &&
			strings.Trim(r.Prefix, "0123456789") == "" && r.Prefix[0] != '0' && (r.Levels == 2 || r.Levels == 3)
		phones = phones || r.Levels == 3
	}
	if !ok || phones && len(p.Issuers) == 0 || len(p.Ranges) > maxEachOne || len(p.Issuers) > maxEachOne {
		return fmt.Errorf("%w: fields of a policy", ErrMalformed)
	}
	return nil
}

// reader takes bytes from the front; once they run out it is bad and gives
// zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
