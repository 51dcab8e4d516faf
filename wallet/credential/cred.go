package credential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/tapvault/tapvault/token"
)

// Size is the length of a signed credential.
const Size = 131

const (
	format     = 0x81
	algES256   = 1
	bodySize   = 67
	sigSize    = 64
	credDomain = "HCE-CRED-1"
)

// ErrUntrusted reports a credential or proof that no pinned key vouches for.
var ErrUntrusted = errors.New("credential: not signed by a pinned key")

// Credential is what the issuer says, under its signature, of one bundle.
type Credential struct {
	IssuerID  [4]byte // the first four bytes of the issuer in file 0015
	KeyID     uint16  // which of the issuer's pinned keys signed
	Number    token.Number
	NotBefore time.Time // whole seconds
	NotAfter  time.Time
	Risk      byte         // tier, form factor, real-name, offline-terminal-ok
	MaxTap    token.Amount // highest cap of any slot
	Limit     token.Amount // offline limit: the caps together
	CtrFirst  uint16
	CtrCount  byte
	DeviceKey [33]byte // compressed P-256 point that makes device proofs; zeros: none
	Signature [sigSize]byte
}

// Keys are the issuer keys a reader was given beforehand, by key id. A key
// that arrives in a message is never one of them.
type Keys map[uint16]*ecdsa.PublicKey

// Parse reads exactly [Size] bytes. It checks form, not the signature: a
// credential is worth nothing before [Credential.Verify].
func Parse(b []byte) (Credential, error) {
	if len(b) != Size {
		return Credential{}, fmt.Errorf("%w: a credential has %d bytes", token.ErrMalformed, Size)
	}
	if b[0] != format || b[66] != algES256 {
		return Credential{}, fmt.Errorf("%w: credential of an unknown format or algorithm", token.ErrMalformed)
	}
	n, err := parseNumber(b[7:17])
	if err != nil {
		return Credential{}, err
	}
	c := Credential{
		IssuerID:  [4]byte(b[1:5]),
		KeyID:     binary.BigEndian.Uint16(b[5:]),
		Number:    n,
		NotBefore: time.Unix(int64(binary.BigEndian.Uint32(b[17:])), 0).UTC(),
		NotAfter:  time.Unix(int64(binary.BigEndian.Uint32(b[21:])), 0).UTC(),
		Risk:      b[25],
		MaxTap:    token.Amount(binary.BigEndian.Uint16(b[26:])) * Unit,
		Limit:     token.Amount(binary.BigEndian.Uint16(b[28:])) * Unit,
		CtrFirst:  binary.BigEndian.Uint16(b[30:]),
		CtrCount:  b[32],
		DeviceKey: [33]byte(b[33:66]),
		Signature: [sigSize]byte(b[67:]),
	}
	return c, c.check()
}

func (c Credential) check() error {
	switch {
	case c.Number.IsZero():
		return fmt.Errorf("%w: credential without a token", token.ErrMalformed)
	case c.NotBefore.Unix() < 0 || c.NotAfter.Unix() > 0xFFFFFFFF || !c.NotBefore.Before(c.NotAfter):
		return fmt.Errorf("%w: credential without a window", token.ErrMalformed)
	case c.CtrCount == 0 || int(c.CtrFirst)+int(c.CtrCount) > 0x10000:
		return fmt.Errorf("%w: credential without a counter range", token.ErrMalformed)
	case c.Limit < c.MaxTap:
		return fmt.Errorf("%w: credential whose cap is above its limit", token.ErrMalformed)
	}
	if _, err := toUnits(c.MaxTap); err != nil {
		return err
	}
	if _, err := toUnits(c.Limit); err != nil {
		return err
	}
	if c.DeviceKey == [33]byte{} {
		return nil
	}
	_, err := c.device()
	return err
}

func (c Credential) device() (*ecdsa.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), c.DeviceKey[:])
	if x == nil {
		return nil, fmt.Errorf("%w: device key is not a point of P-256", token.ErrMalformed)
	}
	point := append([]byte{4}, make([]byte, 64)...)
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// Bytes prints c; it is the inverse of [Parse].
func (c Credential) Bytes() [Size]byte {
	b := [Size]byte{format}
	copy(b[1:], c.IssuerID[:])
	binary.BigEndian.PutUint16(b[5:], c.KeyID)
	putNumber(b[7:17], c.Number)
	binary.BigEndian.PutUint32(b[17:], uint32(c.NotBefore.Unix()))
	binary.BigEndian.PutUint32(b[21:], uint32(c.NotAfter.Unix()))
	b[25] = c.Risk
	binary.BigEndian.PutUint16(b[26:], uint16(c.MaxTap/Unit))
	binary.BigEndian.PutUint16(b[28:], uint16(c.Limit/Unit))
	binary.BigEndian.PutUint16(b[30:], c.CtrFirst)
	b[32] = c.CtrCount
	copy(b[33:], c.DeviceKey[:])
	b[66] = algES256
	copy(b[67:], c.Signature[:])
	return b
}

// Digest is what the issuer signs.
func (c Credential) Digest() [32]byte {
	b := c.Bytes()
	return sha256.Sum256(append([]byte(credDomain), b[:bodySize]...))
}

// Sign checks c, has its digest signed and returns it with the signature,
// r then s.
func (c Credential) Sign(sign func(digest [32]byte) ([64]byte, error)) (Credential, error) {
	c.NotBefore, c.NotAfter = c.NotBefore.UTC().Truncate(time.Second), c.NotAfter.UTC().Truncate(time.Second)
	if err := c.check(); err != nil {
		return Credential{}, err
	}
	sig, err := sign(c.Digest())
	if err != nil {
		return Credential{}, fmt.Errorf("signing credential: %w", err)
	}
	c.Signature = sig
	return c, nil
}

// Verify reports [ErrUntrusted] unless the pinned key of c's key id signed c.
func (c Credential) Verify(pinned Keys) error {
	if k := pinned[c.KeyID]; k == nil || !verify(k, c.Digest(), c.Signature) {
		return ErrUntrusted
	}
	return nil
}

// Covers reports whether u is one of the slots that c speaks of: its counter
// in the range, its expiry inside the window, its cap under the highest.
func (c Credential) Covers(u UD) bool {
	first, end := int(c.CtrFirst), int(c.CtrFirst)+int(c.CtrCount)
	return int(u.Ctr) >= first && int(u.Ctr) < end && u.Limit() <= c.MaxTap &&
		u.HourExp <= Hours(c.NotAfter) && u.Expires().After(c.NotBefore)
}

func verify(k *ecdsa.PublicKey, digest [32]byte, sig [sigSize]byte) bool {
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	return k.Curve == elliptic.P256() && ecdsa.Verify(k, digest[:], r, s)
}

// parseNumber reads digits filled with F on the right.
func parseNumber(b []byte) (token.Number, error) {
	digits, ended := make([]byte, 0, 20), false
	for i := range 2 * len(b) {
		n := b[i/2] >> (4 * (1 - i%2)) & 0x0F
		switch {
		case n == 0x0F:
			ended = true
		case n > 9 || ended:
			return token.Number{}, fmt.Errorf("%w: token number in a credential is not BCD", token.ErrMalformed)
		default:
			digits = append(digits, '0'+n)
		}
	}
	return token.ParseNumber(string(digits))
}

func putNumber(b []byte, n token.Number) {
	d := n.Digits()
	for i := range 2 * len(b) {
		nibble := byte(0x0F)
		if i < len(d) {
			nibble = d[i] - '0'
		}
		b[i/2] |= nibble << (4 * (1 - i%2))
	}
}
