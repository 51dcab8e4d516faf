package intake

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-jose/go-jose/v4"
	josecipher "github.com/go-jose/go-jose/v4/cipher"

	"github.com/tapvault/tapvault/token"
)

// maxSealed bounds what is read before it is known to be genuine.
const maxSealed = 4096

// header is the protected header of a sealed card. Members that are not here
// are refused: zip, because it can grow without bound, crit, and the names of
// parties (apu, apv), which only some libraries mix into the key.
type header struct {
	Algorithm  string `json:"alg"`
	Encryption string `json:"enc"`
	KeyID      string `json:"kid"`
	Type       string `json:"typ"`
	Content    string `json:"cty"`
	Ephemeral  struct {
		Type  string `json:"kty"`
		Curve string `json:"crv"`
		X     text   `json:"x"`
		Y     text   `json:"y"`
	} `json:"epk"`

	point *ecdh.PublicKey
}

// text is base64url without padding.
type text []byte

// UnmarshalText reads it strictly: one value has one spelling.
func (t *text) UnmarshalText(b []byte) (err error) {
	if bytes.ContainsAny(b, "\r\n") { // decoders pass over them, strict ones too
		return ErrSealed
	}
	*t, err = base64.RawURLEncoding.Strict().DecodeString(string(b))
	return err
}

// readHeader reads the header of a sealed card, and refuses whatever is not
// exactly what this package opens.
func readHeader(sealed string) (h header, err error) {
	parts := strings.Split(sealed, ".")
	if len(sealed) > maxSealed || len(parts) != 5 {
		return h, ErrSealed
	}
	var read [5]text
	for i, p := range parts { // the library is not strict: several texts would be one card
		if read[i].UnmarshalText([]byte(p)) != nil {
			return h, ErrSealed
		}
	}
	if decode(read[0], &h) != nil {
		return h, ErrSealed
	}
	if h.Algorithm != string(jose.ECDH_ES_A256KW) || h.Encryption != string(jose.A256GCM) {
		return h, ErrSealed
	}
	e := h.Ephemeral
	if e.Type != "EC" || e.Curve != "P-256" || len(e.X) != 32 || len(e.Y) != 32 {
		return h, ErrSealed
	}
	h.point, err = ecdh.P256().NewPublicKey(append(append([]byte{4}, e.X...), e.Y...)) // refuses points off the curve
	if err != nil {
		return h, ErrSealed
	}
	return h, nil
}

// decode reads one JSON object of known members and nothing after it.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if err := d.Decode(&struct{}{}); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}

// open deciphers a sealed card whose header was read. The caller wipes it.
func (k named) open(ctx context.Context, h header, sealed string) ([]byte, error) {
	// The library reads the header again; it refuses a name that stands twice.
	obj, err := jose.ParseEncryptedCompact(sealed, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return nil, ErrSealed
	}
	d := &unwrapper{ctx: ctx, key: k, header: h}
	defer d.wipe()
	plain, err := obj.Decrypt(d)
	if d.err != nil { // the library hides what its decrypter says
		return nil, fmt.Errorf("opening a sealed card: %w", d.err)
	}
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// unwrapper gives the library the content key of one JWE.
type unwrapper struct {
	ctx    context.Context // of the one call that this lives for
	key    named
	header header
	cek    []byte
	err    error // of the HSM
}

func (u *unwrapper) wipe() { clear(u.cek) }

// DecryptKey implements [jose.OpaqueKeyDecrypter].
func (u *unwrapper) DecryptKey(wrapped []byte, _ jose.Header) ([]byte, error) {
	if len(wrapped) != 40 { // 32 bytes and the check of RFC 3394
		return nil, ErrSealed
	}
	var bad error
	u.err = u.key.Agree(u.ctx, u.header.point, func(secret []byte) error {
		u.cek, bad = unwrap(secret, u.header.Algorithm, wrapped)
		return nil
	})
	if u.err != nil {
		return nil, u.err
	}
	return u.cek, bad
}

// unwrap makes the key-encryption key of RFC 7518, section 4.6, from a shared
// secret, and takes the content key out.
func unwrap(secret []byte, alg string, wrapped []byte) ([]byte, error) {
	var kek [32]byte
	defer clear(kek[:])
	info := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }
	kdf := josecipher.NewConcatKDF(crypto.SHA256, secret, info([]byte(alg)), info(nil), info(nil),
		binary.BigEndian.AppendUint32(nil, 8*uint32(len(kek))), nil)
	if _, err := io.ReadFull(kdf, kek[:]); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(kek[:])
	if err != nil {
		return nil, err
	}
	return josecipher.KeyUnwrap(block, wrapped)
}

// readCard reads the payload of a sealed card. Its errors never repeat digits.
func readCard(plain []byte, client string) (c Card, err error) {
	var p struct {
		PAN    string `json:"pan"`
		Expiry string `json:"expiry"`
		Client string `json:"client_id"`
	}
	if decode(plain, &p) != nil || p.Client != "" && p.Client != client {
		return Card{}, ErrSealed
	}
	if c.PAN, err = token.ParsePAN(p.PAN); err != nil {
		return Card{}, fmt.Errorf("reading a sealed card: %w", err)
	}
	if c.Expiry, err = token.ParseExpiry(p.Expiry); err != nil {
		return Card{}, fmt.Errorf("reading a sealed card: %w", err)
	}
	return c, nil
}
