package detokenize

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"github.com/go-jose/go-jose/v4"

	"github.com/tapvault/tapvault/internal/fault"
)

// ErrUnsigned reports a signed result that was wanted of a service that has no
// key for it.
var ErrUnsigned = fault.New(fault.Malformed, "this service signs no results")

// Types of a result.
const (
	resultType = "tapvault-result+jwt" // typ of its header: it passes for no other token
	verified   = "VERIFIED"            // its verdict; there is no result of what did not hold
)

// Result is what a signed result says: a JWS in compact form, ES256 by the key
// that [Service.KeySet] shows, over this as JSON. It is for an issuer's
// authorisation host, which checks it without asking anyone. It is never a
// card's own MAC.
type Result struct {
	ID        string `json:"jti"`
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"` // the caller
	IssuedAt  int64  `json:"iat"` // Unix seconds
	Verdict   string `json:"verdict"`
	Purpose   string `json:"purpose"`
	Ref       string `json:"token_reference_id"`
	PAR       string `json:"par,omitempty"`
	PAN       string `json:"pan,omitempty"`        // in clear, or
	PANExpiry string `json:"pan_expiry,omitempty"` // YYMM
	PANSealed string `json:"pan_jwe,omitempty"`    // both as a JWE to the caller's key
	Amount    uint32 `json:"amount_fen"`
	Counter   uint16 `json:"counter"`
	TapID     string `json:"tap_id"`
	TapAt     string `json:"tap_at"` // when the tap was made, RFC 3339
}

// sign makes the signed result of an answer.
func (s *Service) sign(ctx context.Context, v Verified, a Answer, purpose string) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, id[:]); err != nil {
		return "", fmt.Errorf("naming a result: %w", err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	claims, err := json.Marshal(Result{
		ID: b64(id[:]), Issuer: s.cfg.Signer.Issuer, Audience: v.caller, IssuedAt: s.cfg.Now().Unix(),
		Verdict: verified, Purpose: purpose, Ref: string(a.Ref), PAR: string(a.PAR),
		PAN: a.PAN.Reveal(), PANExpiry: string(a.Expiry), PANSealed: a.Sealed,
		Amount: uint32(v.tap.Amount), Counter: v.tap.Seq, TapID: a.TapID, TapAt: v.tapAt.Format("2006-01-02T15:04:05Z07:00"),
	})
	if err != nil {
		return "", fmt.Errorf("writing a result: %w", err)
	}
	defer clear(claims)
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":%q}`, s.keyID, resultType)
	text := b64([]byte(header)) + "." + b64(claims)
	sig, err := s.cfg.Signer.Sign(ctx, sha256.Sum256([]byte(text)))
	if err != nil {
		return "", fmt.Errorf("signing a result: %w", err)
	}
	return text + "." + b64(sig[:]), nil
}

// KeySet returns the public key of signed results as a JWK set (RFC 7517). It
// is empty when this service signs none.
func (s *Service) KeySet() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	if s.cfg.Signer != nil {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.cfg.Signer.Public, KeyID: s.keyID, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return json.Marshal(set)
}
