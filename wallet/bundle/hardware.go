package bundle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// ErrUsedUp reports a key in hardware that has done what it may.
var ErrUsedUp = errors.New("bundle: the key has no uses left")

// uses counts down what a key in hardware may still do.
type uses struct {
	mu   sync.Mutex
	left int
}

func (u *uses) take() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.left <= 0 {
		return ErrUsedUp
	}
	u.left--
	return nil
}

// ProofKey makes the device proofs of one bundle. On a phone it is a key of the
// platform's hardware that deletes itself after so many uses; here the object
// counts. It is safe for concurrent use.
type ProofKey struct {
	uses
	key *ecdsa.PrivateKey
}

// NewProofKey makes a key for a bundle of so many slots, with some uses to spare
// for taps that are torn.
func NewProofKey(random io.Reader, slots int) (*ProofKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("making a proof key: %w", err)
	}
	return &ProofKey{uses{left: slots + payload.SpareUses}, k}, nil
}

// Public is the public half, as a credential names it.
func (k *ProofKey) Public() [33]byte {
	return [33]byte(elliptic.MarshalCompressed(elliptic.P256(), k.key.X, k.key.Y))
}

func (k *ProofKey) sign(random io.Reader, digest [32]byte) ([64]byte, error) {
	if err := k.take(); err != nil {
		return [64]byte{}, err
	}
	return signES256(random, k.key, digest)
}

// signES256 returns r then s.
func signES256(random io.Reader, k *ecdsa.PrivateKey, digest [32]byte) (sig [64]byte, err error) {
	r, s, err := ecdsa.Sign(random, k, digest[:])
	if err != nil {
		return sig, fmt.Errorf("signing: %w", err)
	}
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig, nil
}

// limited is an HMAC key in hardware that may be used n times.
func limited(key *[mask.SecretSize]byte, n int) mask.HMAC {
	own := *key
	left, by := &uses{left: n}, mask.Software(&own)
	return func(msg []byte) ([sha256.Size]byte, error) {
		if err := left.take(); err != nil {
			return [sha256.Size]byte{}, err
		}
		return by(msg)
	}
}

// OpenGuarded opens a bundle that a PIN guards, and puts the hardware key that
// came with it into the device's hardware, where there is one.
func (d *Device) OpenGuarded(sealed, hardware string, proof *ProofKey) (*Bundle, error) {
	b, err := d.open(sealed)
	if err != nil {
		return nil, err
	}
	if !b.masked || b.hwNeed != (hardware != "") {
		b.Wipe()
		return nil, fmt.Errorf("%w: no PIN guards it, or its hardware key is missing", ErrSealed)
	}
	if b.hwNeed {
		if b.hw, err = d.importKey(b, hardware); err != nil {
			b.Wipe()
			return nil, err
		}
	}
	if b.proof = proof; proof != nil && proof.Public() != b.payload.Credential.DeviceKey {
		b.Wipe()
		return nil, fmt.Errorf("%w: it names another proof key", ErrSealed)
	}
	return b, nil
}

// importKey opens the hardware key of b.
func (d *Device) importKey(b *Bundle, sealed string) (mask.HMAC, error) {
	key, h, err := d.decrypt(sealed)
	defer clear(key)
	if err != nil {
		return nil, err
	}
	n, _ := h[payload.HeaderUses].(float64)
	if len(key) != mask.SecretSize || h[payload.HeaderBundle] != b.ID || h[payload.HeaderDevice] != string(b.Device) || n < 1 || n > 256 {
		return nil, fmt.Errorf("%w: a hardware key of another bundle", ErrSealed)
	}
	return limited((*[mask.SecretSize]byte)(key), int(n)), nil
}
