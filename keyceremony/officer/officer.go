// Package officer holds the signing keys of the people of a ceremony, sealed in files under their passphrases or on tokens of their own.
package officer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/tapvault/tapvault/internal/fault"
)

// Errors.
var (
	ErrMalformed  = fault.New(fault.Malformed, "this is no officer's key")
	ErrPassphrase = fault.New(fault.Refused, "the passphrase does not open this key")
	ErrSignature  = fault.New(fault.Refused, "the signature is not this person's")
)

// MinPassphrase is how many bytes a passphrase has at least.
const MinPassphrase = 10

// Public is the key that others know a person by: Ed25519 of those in files, or
// ECDSA on P-256 of those on tokens.
type Public struct {
	key   ed25519.PublicKey
	token *ecdsa.PublicKey
}

const publicPrefix = "ed25519:"

// ParsePublic reads "ed25519:" and 32 bytes of base64, or "p256:" and an
// uncompressed point in hex.
func ParsePublic(text string) (Public, error) {
	if digits, ok := strings.CutPrefix(text, tokenPrefix); ok {
		return parseToken(digits)
	}
	b64, ok := strings.CutPrefix(text, publicPrefix)
	b, err := base64.StdEncoding.Strict().DecodeString(b64)
	// Strict base64 still skips line breaks: a second spelling would be a second person.
	if !ok || err != nil || len(b) != ed25519.PublicKeySize || len(b64) != base64.StdEncoding.EncodedLen(len(b)) {
		return Public{}, fmt.Errorf("%w: a public key is %q and 32 bytes of base64, or %q and a point in hex", ErrMalformed, publicPrefix, tokenPrefix)
	}
	return Public{key: b}, nil
}

// ParseList reads a list of public keys, one a line; what follows a key, and
// lines that begin with #, are for people. A list names somebody, and nobody twice.
func ParseList(text []byte) (keys []string, err error) {
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		p, err := ParsePublic(words[0])
		if err != nil {
			return nil, err
		}
		if slices.Contains(keys, p.String()) {
			return nil, fmt.Errorf("%w: a key is listed twice", ErrMalformed)
		}
		keys = append(keys, p.String())
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: the list names nobody", ErrMalformed)
	}
	return keys, nil
}

// String is the inverse of [ParsePublic].
func (p Public) String() string {
	if p.token != nil {
		return printToken(p.token)
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(p.key)
}

// Verify checks a signature over a message of a domain.
func (p Public) Verify(domain string, msg, signature []byte) error {
	if p.token != nil {
		return verifyToken(p.token, framed(domain, msg), signature)
	}
	if len(p.key) != ed25519.PublicKeySize || !ed25519.Verify(p.key, framed(domain, msg), signature) {
		return ErrSignature
	}
	return nil
}

// Signer is a person's own key, wherever it is.
type Signer interface {
	Public() Public
	Sign(domain string, msg []byte) ([]byte, error)
	Wipe()
}

// Key is a person's own key in memory.
type Key struct{ private ed25519.PrivateKey }

// New draws a key.
func New(random io.Reader) (Key, error) {
	var seed [ed25519.SeedSize]byte
	defer clear(seed[:])
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return Key{}, fmt.Errorf("reading randomness: %w", err)
	}
	return Key{ed25519.NewKeyFromSeed(seed[:])}, nil
}

// Public returns what others may know.
func (k Key) Public() Public { return Public{key: k.private.Public().(ed25519.PublicKey)} }

// Sign signs a message of a domain.
func (k Key) Sign(domain string, msg []byte) ([]byte, error) {
	return ed25519.Sign(k.private, framed(domain, msg)), nil
}

// Wipe forgets the key.
func (k Key) Wipe() { clear(k.private) }

// framed keeps signatures of one purpose from serving another.
func framed(domain string, msg []byte) []byte {
	return append(append([]byte("tapvault ceremony\x00"+domain+"\x00"), byte(len(msg)>>8), byte(len(msg))), msg...)
}

// file is a sealed key as it is written.
type file struct {
	What   string `json:"what"`
	Name   string `json:"name"`
	Public string `json:"public"`
	Time   uint32 `json:"argon2id_time"`
	Memory uint32 `json:"argon2id_kib"`
	Salt   []byte `json:"salt"`
	Sealed []byte `json:"sealed"` // nonce, seed and tag of AES-256-GCM
}

const what = "tapvault officer key 1"

// Bounds of what a file may ask of Argon2id.
const (
	argonTime, maxTime     = 3, 16
	argonMemory, maxMemory = 64 << 10, 1 << 20
	minMemory              = 8 << 10
	maxFile                = 4 << 10
)

// Seal writes the key of a person for a passphrase.
func (k Key) Seal(random io.Reader, name string, passphrase []byte) ([]byte, error) {
	return k.SealAt(random, name, passphrase, argonTime, argonMemory)
}

// SealAt is Seal at another cost than the usual one: passes of Argon2id, and
// KiB of memory.
func (k Key) SealAt(random io.Reader, name string, passphrase []byte, passes, kib uint32) ([]byte, error) {
	if len(passphrase) < MinPassphrase || passes < 1 || passes > maxTime || kib < minMemory || kib > maxMemory {
		return nil, fmt.Errorf("%w: a passphrase has %d characters at least", ErrMalformed, MinPassphrase)
	}
	f := file{What: what, Name: name, Public: k.Public().String(), Time: passes, Memory: kib, Salt: make([]byte, 16)}
	nonce := make([]byte, 12)
	for _, b := range [][]byte{f.Salt, nonce} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("reading randomness: %w", err)
		}
	}
	a, err := f.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	f.Sealed = a.Seal(nonce, nonce, k.private.Seed(), []byte(f.Name+"\x00"+f.Public))
	out, err := json.MarshalIndent(f, "", "  ")
	return append(out, '\n'), err
}

func (f file) cipher(passphrase []byte) (cipher.AEAD, error) {
	key := argon2.IDKey(passphrase, f.Salt, f.Time, f.Memory, 2, 32)
	defer clear(key)
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// Open reads the key of a person.
func Open(text []byte, passphrase []byte) (name string, k Key, err error) {
	f, err := parse(text)
	if err != nil {
		return "", k, err
	}
	a, err := f.cipher(passphrase)
	if err != nil {
		return "", k, err
	}
	seed, err := a.Open(nil, f.Sealed[:12], f.Sealed[12:], []byte(f.Name+"\x00"+f.Public))
	if err != nil || len(seed) != ed25519.SeedSize {
		return "", k, ErrPassphrase
	}
	defer clear(seed)
	k = Key{ed25519.NewKeyFromSeed(seed)}
	if k.Public().String() != f.Public {
		return "", Key{}, ErrMalformed
	}
	return f.Name, k, nil
}

func parse(text []byte) (f file, err error) {
	if len(text) > maxFile {
		return f, ErrMalformed
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if d.Decode(&f) != nil || f.What != what || len(f.Salt) != 16 || len(f.Sealed) != 12+32+16 ||
		f.Time < 1 || f.Time > maxTime || f.Memory < minMemory || f.Memory > maxMemory {
		return f, ErrMalformed
	}
	return f, nil
}
