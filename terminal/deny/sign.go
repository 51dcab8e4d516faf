package deny

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"
)

// Domains keep a signature over one thing from counting for another.
const (
	listDomain   = "TV-DENY-1"
	policyDomain = "TV-TERM-1"
)

const sigSize = 64

// Keys are the signing keys of lists and policies that a reader was given
// beforehand, by key id. They are not the issuer's: who can sign a credential
// cannot unsay a denial.
type Keys map[uint16]*ecdsa.PublicKey

// Sign has a digest signed: r, then s.
type Sign func(digest [32]byte) ([64]byte, error)

// Head is what every document begins with.
type Head struct {
	KeyID  uint16    // which key signed
	Issued time.Time // whole seconds: as fresh as that is the document
	Until  time.Time // no reader trusts it longer
}

const headSize = 1 + 2 + 4 + 4

func (h Head) append(b []byte, format byte) []byte {
	b = append(b, format)
	b = binary.BigEndian.AppendUint16(b, h.KeyID)
	b = binary.BigEndian.AppendUint32(b, seconds(h.Issued))
	return binary.BigEndian.AppendUint32(b, seconds(h.Until))
}

// parseHead reads the head of a document and returns what stands between it
// and the signature.
func parseHead(doc []byte, format byte) (h Head, body []byte, sig [sigSize]byte, err error) {
	if len(doc) < headSize+sigSize || doc[0] != format {
		return h, nil, sig, fmt.Errorf("%w: no document of kind %02X", ErrMalformed, format)
	}
	moment := func(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint32(b)), 0).UTC() }
	h = Head{binary.BigEndian.Uint16(doc[1:]), moment(doc[3:]), moment(doc[7:])}
	if !h.Until.After(h.Issued) {
		return h, nil, sig, fmt.Errorf("%w: a document that ends before it begins", ErrMalformed)
	}
	end := len(doc) - sigSize
	return h, doc[headSize:end], [sigSize]byte(doc[end:]), nil
}

// sign appends a signature to what has none yet.
func sign(domain string, unsigned []byte, with Sign) ([]byte, error) {
	sig, err := with(digest(domain, unsigned))
	if err != nil {
		return nil, fmt.Errorf("signing for readers: %w", err)
	}
	return append(unsigned, sig[:]...), nil
}

func digest(domain string, unsigned []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(unsigned)
	return [32]byte(h.Sum(nil))
}

// verify checks the signature at the end of doc with the pinned key that its
// head names.
func verify(domain string, doc []byte, pinned Keys) error {
	if len(doc) < headSize+sigSize {
		return ErrUntrusted
	}
	k, end := pinned[binary.BigEndian.Uint16(doc[1:])], len(doc)-sigSize
	if k == nil || k.Curve != elliptic.P256() {
		return ErrUntrusted
	}
	d := digest(domain, doc[:end])
	r, s := new(big.Int).SetBytes(doc[end:end+32]), new(big.Int).SetBytes(doc[end+32:])
	if !ecdsa.Verify(k, d[:], r, s) {
		return ErrUntrusted
	}
	return nil
}
