package officer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

const tokenPrefix = "p256:"

func parseToken(digits string) (Public, error) {
	b, err := hex.DecodeString(digits)
	if err != nil || strings.ToUpper(digits) != digits {
		return Public{}, fmt.Errorf("%w: behind %q stands a point in capital hex digits", ErrMalformed, tokenPrefix)
	}
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b)
	if err != nil {
		return Public{}, fmt.Errorf("%w: behind %q stands no point of P-256", ErrMalformed, tokenPrefix)
	}
	return Public{token: k}, nil
}

func printToken(k *ecdsa.PublicKey) string {
	b, err := k.Bytes()
	if err != nil {
		return tokenPrefix
	}
	return tokenPrefix + strings.ToUpper(hex.EncodeToString(b))
}

func verifyToken(k *ecdsa.PublicKey, framed, sig []byte) error {
	digest := sha256.Sum256(framed)
	if len(sig) != 64 || !ecdsa.Verify(k, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return ErrSignature
	}
	return nil
}

// onToken is a key that a token uses for its person.
type onToken struct {
	public *ecdsa.PublicKey
	sign   func(digest [32]byte) ([64]byte, error)
	leave  func()
}

// OnToken is the key of a person on a token of their own, on P-256. leave logs
// out of it.
func OnToken(public *ecdsa.PublicKey, sign func(digest [32]byte) ([64]byte, error), leave func()) Signer {
	return onToken{public, sign, leave}
}

// Public implements [Signer].
func (k onToken) Public() Public { return Public{token: k.public} }

// Sign implements [Signer].
func (k onToken) Sign(domain string, msg []byte) ([]byte, error) {
	sig, err := k.sign(sha256.Sum256(framed(domain, msg)))
	return sig[:], err
}

// Wipe implements [Signer].
func (k onToken) Wipe() { k.leave() }

// Card says where a person's key is that is on a token. It holds nothing secret.
type Card struct {
	What     string `json:"what"`
	Name     string `json:"name"`
	Public   string `json:"public"`
	Module   string `json:"module"`
	InitArgs string `json:"init_args,omitempty"`
	Token    string `json:"token"` // its label
}

const cardWhat = "tapvault officer token 1"

// Text is the card as it is written.
func (c Card) Text() ([]byte, error) {
	c.What = cardWhat
	out, err := json.MarshalIndent(c, "", "  ")
	return append(out, '\n'), err
}

// ParseCard reads a card; ok is false when the file holds something else, such
// as a sealed key.
func ParseCard(text []byte) (c Card, ok bool, err error) {
	var kind struct{ What string }
	if len(text) > maxFile || json.Unmarshal(text, &kind) != nil || kind.What != cardWhat {
		return c, false, nil
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if d.Decode(&c) != nil || c.Module == "" || c.Token == "" {
		return Card{}, true, ErrMalformed
	}
	if p, err := ParsePublic(c.Public); err != nil || p.token == nil {
		return Card{}, true, ErrMalformed
	}
	return c, true, nil
}
