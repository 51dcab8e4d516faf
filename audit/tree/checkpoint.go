package tree

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/mod/sumdb/note"
)

// ErrCheckpoint reports text that is no checkpoint of this record, or one that
// its key did not sign.
var ErrCheckpoint = errors.New("not a checkpoint of this record")

// Checkpoint is a head and who says so, as a signed note: origin, size and
// root, one on a line, and under an empty line the signature, ECDSA on P-256
// over SHA-256 (c2sp.org/tlog-checkpoint, c2sp.org/signed-note, type 0x02).
type Checkpoint struct {
	Origin string // names the record
	Head
}

// maxCheckpoint bounds the text of one.
const maxCheckpoint = 2048

func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// Key signs checkpoints, or only checks them.
type Key struct {
	Public *ecdsa.PublicKey // P-256
	// Sign returns r‖s over digest. It is nil where checkpoints are only checked.
	Sign func(ctx context.Context, digest [32]byte) ([64]byte, error)
}

// party is a key under the name of a record, as package note knows them.
type party struct {
	key  Key
	name string
	hash uint32
	ctx  context.Context
}

func (k Key) party(ctx context.Context, name string) (*party, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return nil, fmt.Errorf("naming the key of checkpoints: %w", err)
	}
	sum := sha256.Sum256(der)
	return &party{k, name, binary.BigEndian.Uint32(sum[:4]), ctx}, nil
}

func (p *party) Name() string    { return p.name }
func (p *party) KeyHash() uint32 { return p.hash }

// Sign implements note.Signer: an ASN.1 signature.
func (p *party) Sign(msg []byte) ([]byte, error) {
	raw, err := p.key.Sign(p.ctx, sha256.Sum256(msg))
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[:32]))
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[32:]))
	})
	return b.Bytes()
}

// Verify implements note.Verifier.
func (p *party) Verify(msg, sig []byte) bool {
	digest := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(p.key.Public, digest[:], sig)
}

// SignCheckpoint writes a checkpoint.
func (k Key) SignCheckpoint(ctx context.Context, c Checkpoint) (string, error) {
	p, err := k.party(ctx, c.Origin)
	if err != nil {
		return "", err
	}
	text, err := note.Sign(&note.Note{Text: c.text()}, p)
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint: %w", err)
	}
	return string(text), nil
}

// OpenCheckpoint reads a checkpoint that k signed for the record of that origin.
func (k Key) OpenCheckpoint(text, origin string) (Checkpoint, error) {
	if len(text) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%w: it is too long", ErrCheckpoint)
	}
	p, err := k.party(context.Background(), origin)
	if err != nil {
		return Checkpoint{}, err
	}
	n, err := note.Open([]byte(text), note.VerifierList(p))
	if unsigned := new(note.UnverifiedNoteError); errors.As(err, &unsigned) {
		return Checkpoint{}, fmt.Errorf("%w: it bears no signature of this HSM's audit-sign", ErrCheckpoint)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	// Package note also reads signatures whose last character has bits that say
	// nothing: each checkpoint has one text here.
	for _, sig := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("%w: its signature is not written as base64 is", ErrCheckpoint)
		}
	}
	c, err := parse(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("%w: it is of another record", ErrCheckpoint)
	}
	return c, nil
}

// parse reads exactly what text writes.
func parse(text string) (c Checkpoint, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return c, ErrCheckpoint
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 1 {
		return c, fmt.Errorf("%w: its size", ErrCheckpoint)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return c, fmt.Errorf("%w: its root", ErrCheckpoint)
	}
	copy(c.Root[:], root)
	if c.text() != text {
		return c, ErrCheckpoint
	}
	return c, nil
}

// OriginOf is the origin that a checkpoint of the record with that first line says,
// whoever kept it then; "" of one of another record. Nothing of it is checked yet.
func OriginOf(text string, first []byte) string {
	origin, _, _ := strings.Cut(text, "\n")
	if !strings.HasSuffix(origin, Origin("", first)) {
		return ""
	}
	return origin
}

// Origin names a record: who keeps it, and what its first line is.
func Origin(keeper string, first []byte) string {
	sum := sha256.Sum256(first)
	return strings.TrimPrefix(strings.TrimPrefix(keeper, "https://"), "http://") + "/audit/" + fmt.Sprintf("%x", sum[:8])
}
