// Package mask hides single-use keys under a PIN in such a way that every PIN
// gives a key; service and handset share it.
//
// A mask covers 16 uniform bytes and nothing else: no length, padding, check
// value or parity goes under it, so whoever holds a masked key learns from no
// guess whether it was the right one. Only the service, which knows what the
// key was, can tell from a MAC made with it.
package mask

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/crypto/argon2"

	"github.com/tapvault/tapvault/token"
)

// Sizes in bytes.
const (
	KeySize    = 16 // of what is masked
	SaltSize   = 16
	SecretSize = 32 // of S and of a hardware key
)

// Names that keep the uses of SHA-256 and HMAC apart.
const (
	saltDomain = "hce/pin/v1"
	maskDomain = "hce/mask/v1"
)

// Cost of the stretch.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 1
)

// Secret is S: what a PIN is stretched to. It is worth as much as the PIN.
type Secret [SecretSize]byte

// Wipe zeroes s.
func (s *Secret) Wipe() { clear(s[:]) }

// Salt is fixed by the wallet and the epoch of its PIN, so that both ends know
// it without sending it.
func Salt(w token.WalletID, epoch uint32) [SaltSize]byte {
	h := sha256.New()
	h.Write([]byte(saltDomain))
	h.Write([]byte(w))
	h.Write(binary.BigEndian.AppendUint32(nil, epoch))
	return [SaltSize]byte(h.Sum(nil))
}

// Stretch makes S of a PIN.
type Stretch func(p PIN, salt [SaltSize]byte) Secret

// Argon2id is the stretch of the field: 64 MiB, three passes, one lane. It
// takes about a quarter of a second and 64 MiB, so callers bound how many run
// at once.
func Argon2id(p PIN, salt [SaltSize]byte) (s Secret) {
	digits := p.digits()
	defer clear(digits[:])
	k := argon2.IDKey(digits[:], salt[:], argonTime, argonMemory, argonThreads, SecretSize)
	defer clear(k)
	return Secret(k)
}

// HMAC computes HMAC-SHA256 under a key that stays where it is: on a handset of
// tier A, in hardware.
type HMAC func(msg []byte) ([sha256.Size]byte, error)

// Software is the HMAC of a key in memory. On the service's side it makes the
// masks of a key that the handset then holds in hardware.
func Software(key *[SecretSize]byte) HMAC {
	return func(msg []byte) ([sha256.Size]byte, error) {
		m := hmac.New(sha256.New, key[:])
		m.Write(msg)
		return [sha256.Size]byte(m.Sum(nil)), nil
	}
}

// Slot names a slot within all bundles there ever were.
type Slot struct {
	Bundle [16]byte
	Ctr    uint16
}

// Apply masks key, or takes its mask off: it is its own inverse. With a
// hardware key (tier A) the mask depends on that as well; nil is tier B. It
// fails only when the hardware does, never because of the PIN.
func Apply(key *[KeySize]byte, s *Secret, hw HMAC, slot Slot) error {
	msg := append([]byte(maskDomain), slot.Bundle[:]...)
	msg = binary.BigEndian.AppendUint16(msg, slot.Ctr)
	if hw == nil {
		hw = Software((*[SecretSize]byte)(s))
	} else {
		msg = append(msg, s[:]...)
		defer clear(msg)
	}
	h, err := hw(msg)
	if err != nil {
		return err
	}
	for i := range key {
		key[i] ^= h[i]
	}
	clear(h[:])
	return nil
}
