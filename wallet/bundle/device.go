// Package bundle is the handset's side of a bundle: it opens the sealed form
// and answers readers as a card whose keys each serve one purchase.
//
// It needs no network and no HSM. The keys it holds are single-use: a slot's
// keys are gone from memory, and its counter is in the [Journal], before the
// answer that spends it leaves.
package bundle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// ErrSealed reports a sealed bundle that this device cannot open, or whose
// parts do not belong together.
var ErrSealed = errors.New("bundle: not a bundle for this device")

// maxJWE bounds a sealed bundle before it is parsed.
const maxJWE = 16 << 10

// Device holds the key that bundles are sealed to. On a phone it is a
// non-exportable key of the platform; here its bytes are in memory.
type Device struct{ key *ecdsa.PrivateKey }

// NewDevice makes a P-256 key from random.
func NewDevice(random io.Reader) (*Device, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("making device key: %w", err)
	}
	return &Device{k}, nil
}

// DeviceFromKey returns the device that holds k, a P-256 key.
func DeviceFromKey(k *ecdsa.PrivateKey) (*Device, error) {
	if k == nil || k.Curve != elliptic.P256() {
		return nil, errors.New("bundle: a device key is on P-256")
	}
	return &Device{k}, nil
}

// PublicJWK is the public half, as the service takes it.
func (d *Device) PublicJWK() ([]byte, error) {
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("printing device key: %w", err)
	}
	b64 := base64.RawURLEncoding
	return json.Marshal(map[string]string{
		"kty": "EC", "crv": "P-256", "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]),
	})
}

// Bundle is an opened bundle: clear single-use keys, to be given to [NewCard]
// at once. It does not print.
type Bundle struct {
	ID  string
	Ref token.Ref

	// Device and Epoch are whom a guarded bundle is for: the device, and the PIN
	// whose mask is on its TAC keys. Without a PIN they are empty.
	Device token.DeviceID
	Epoch  uint32

	id      [16]byte
	card    payload.Card
	payload payload.Payload
	masked  bool
	hwNeed  bool
	hw      mask.HMAC
	proof   *ProofKey
}

// Open opens a sealed bundle. Only ECDH-ES+A256KW with A256GCM is accepted, and
// the headers must agree with what was sealed.
func (d *Device) Open(sealed string) (*Bundle, error) {
	b, err := d.open(sealed)
	if err == nil && b.masked {
		b.Wipe()
		return nil, fmt.Errorf("%w: a PIN guards it", ErrSealed)
	}
	return b, err
}

// open opens a sealed bundle, guarded or not.
func (d *Device) open(sealed string) (*Bundle, error) {
	open, headers, err := d.decrypt(sealed)
	defer clear(open)
	if err != nil {
		return nil, err
	}
	b := &Bundle{}
	if b.payload, err = payload.Parse(open); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	if err := b.bind(headers); err != nil {
		b.Wipe()
		return nil, err
	}
	return b, nil
}

// decrypt opens a JWE to the device's key.
func (d *Device) decrypt(sealed string) ([]byte, map[jose.HeaderKey]any, error) {
	if len(sealed) > maxJWE {
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrSealed, maxJWE)
	}
	obj, err := jose.ParseEncryptedCompact(sealed, []jose.KeyAlgorithm{jose.ECDH_ES_A256KW}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: not a JWE of the one accepted kind", ErrSealed)
	}
	open, err := obj.Decrypt(d.key)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: it does not open", ErrSealed)
	}
	return open, obj.Header.ExtraHeaders, nil
}

// bind takes what the headers say and holds it against the payload.
func (b *Bundle) bind(h map[jose.HeaderKey]any) (err error) {
	id, _ := h[payload.HeaderBundle].(string)
	ref, _ := h[payload.HeaderToken].(string)
	card, _ := h[payload.HeaderCard].(string)
	if b.card, err = payload.ParseCard(card); err != nil {
		return fmt.Errorf("%w: %w", ErrSealed, err)
	}
	exp := float64(b.payload.Credential.NotAfter.Unix())
	if h[payload.HeaderVersion] != float64(payload.Version) || h[payload.HeaderExpiry] != exp || id == "" || ref == "" {
		return fmt.Errorf("%w: headers", ErrSealed)
	}
	if b.payload.Credential.IssuerID != [4]byte(b.card.Issuer[:4]) {
		return fmt.Errorf("%w: issuer of card and credential differ", ErrSealed)
	}
	for i := range b.payload.Slots {
		if b.payload.Slots[i].UD.KeyVer != b.card.KeyVersion&0x0F {
			return fmt.Errorf("%w: key version of card and slots differ", ErrSealed)
		}
	}
	b.ID, b.Ref = id, token.Ref(ref)
	return b.guard(h)
}

// guard takes what the headers say of PIN and device. A bundle that no PIN
// guards has none of them.
func (b *Bundle) guard(h map[jose.HeaderKey]any) error {
	device, _ := h[payload.HeaderDevice].(string)
	if device == "" {
		return nil
	}
	epoch, _ := h[payload.HeaderEpoch].(float64)
	hw, ok := h[payload.HeaderHardware].(bool)
	id, err := hex.DecodeString(b.ID)
	if err != nil || len(id) != 16 || !ok || epoch < 1 || epoch > 1<<32-1 || epoch != math.Trunc(epoch) {
		return fmt.Errorf("%w: headers", ErrSealed)
	}
	b.Device, b.Epoch, b.id, b.masked, b.hwNeed = token.DeviceID(device), uint32(epoch), [16]byte(id), true, hw
	return nil
}

// Ack proves to the service that this device opened the bundle.
func (b *Bundle) Ack() [payload.AckSize]byte { return payload.Ack(b.payload.Script, b.ID) }

// Slots is how many slots the bundle holds.
func (b *Bundle) Slots() int { return len(b.payload.Slots) }

// Wipe zeroes the bundle's keys.
func (b *Bundle) Wipe() { b.payload.Wipe() }

// Format keeps every verb from printing keys.
func (b *Bundle) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "bundle "+b.ID) }
