package detokenize

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// ErrNoKey reports an answer that was wanted sealed when there is no key.
var ErrNoKey = fault.New(fault.NoClientKey, "no encryption key is registered for this caller")

// recipient is to whom an answer is sealed.
type recipient struct {
	key *ecdsa.PublicKey
	id  string
}

// recipient finds the key of a caller who wants the card sealed; nil for one
// who does not.
func (s *Service) recipient(ctx context.Context, c access.Caller, q Query) (*recipient, error) {
	if !q.Sealed {
		return nil, nil
	}
	if s.cfg.Recipients == nil {
		return nil, ErrNoKey
	}
	key, id, err := s.cfg.Recipients.EncryptionKey(ctx, c.ID)
	if err != nil {
		return nil, fmt.Errorf("finding the caller's key: %w", err)
	}
	return &recipient{key, id}, nil
}

// seal writes a card as a JWE, ECDH-ES+A256KW and A256GCM, that only the
// recipient can open.
func (r *recipient) seal(pan token.PAN, expiry token.Expiry) (string, error) {
	card, err := json.Marshal(struct {
		PAN    string `json:"pan"`
		Expiry string `json:"expiry"`
	}{pan.Reveal(), string(expiry)})
	if err != nil {
		return "", fmt.Errorf("sealing a card number: %w", err)
	}
	defer clear(card)
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: r.key, KeyID: r.id},
		(&jose.EncrypterOptions{}).WithContentType("application/json"))
	if err != nil {
		return "", fmt.Errorf("sealing a card number: %w", err)
	}
	obj, err := enc.Encrypt(card)
	if err != nil {
		return "", fmt.Errorf("sealing a card number: %w", err)
	}
	return obj.CompactSerialize()
}

// thumbprint names a public key as RFC 7638 does.
func thumbprint(key *ecdsa.PublicKey) (string, error) {
	print, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("naming a key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(print), nil
}
