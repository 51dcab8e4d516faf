package payload

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"

	"github.com/tapvault/tapvault/token"
)

// Bounds of what a phone may say at once.
const (
	MaxReports = 128
	MaxSync    = 192 << 10 // characters of a signed sync
	maxSealed  = 4096      // characters of one sealed tap
	maxSyncID  = 64
)

// syncHeader is the one protected header of a signed sync: the text itself is
// compared, so there is nothing in it to be clever with.
const syncHeader = `{"alg":"ES256","typ":"tapvault-sync"}`

// ErrSigned reports a sync that the device's key did not sign.
var ErrSigned = errors.New("payload: not signed by this device")

// Status is what a phone says of a slot that it was given.
type Status string

// Statuses.
const (
	Live      Status = "UNUSED_ACTIVE"
	Discarded Status = "DISCARDED"
	Used      Status = "USED"
)

// Report is a phone's word on one slot.
type Report struct {
	Ctr    uint16 `json:"ctr"`
	Status Status `json:"status"`
	Tap    string `json:"tap,omitempty"` // of a used slot: a JWE to the service's key
}

// Integrity is a platform's verdict on the phone, newer than the one at its
// enrolment.
type Integrity struct {
	Verdict string `json:"verdict"` // TRUSTED, UNTRUSTED, FAILED
	At      int64  `json:"at"`      // seconds since 1970
}

// Sync is all that a phone says at a sync.
type Sync struct {
	Device    token.DeviceID `json:"device_id"`
	Ref       token.Ref      `json:"token_reference_id"`
	ID        string         `json:"sync_id"` // drawn by the phone; a repeated one is answered as the first was
	Clock     int64          `json:"clock"`   // the phone's, seconds since 1970
	PINEpoch  uint32         `json:"pin_epoch"`
	Remaining token.Amount   `json:"remaining"` // fen, as the phone counts
	Count     int            `json:"count"`
	Reports   []Report       `json:"reports"`
	ProofKey  string         `json:"dp_key"` // P-256 point, compressed, in hex: signs device proofs of the next bundle
	Integrity *Integrity     `json:"integrity,omitempty"`
}

// ParseSync reads one JSON object of known members.
func ParseSync(b []byte) (Sync, error) {
	var s Sync
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(&s) != nil || d.Decode(&struct{}{}) != io.EOF {
		return Sync{}, fmt.Errorf("%w: a sync is one JSON object of known members", token.ErrMalformed)
	}
	return s, s.check()
}

func (s Sync) check() error {
	switch {
	case !s.Device.Valid(), s.Ref == "", len(s.Ref) > maxSyncID, s.ID == "", len(s.ID) > maxSyncID, !printable(s.ID), !printable(string(s.Ref)):
		return fmt.Errorf("%w: a sync without its ids", token.ErrMalformed)
	case s.Clock <= 0, s.Clock > 1<<40, s.Count < 0, s.Count > 1<<16, len(s.Reports) > MaxReports:
		return fmt.Errorf("%w: a sync out of bounds", token.ErrMalformed)
	}
	if _, err := s.Proof(); err != nil {
		return err
	}
	if i := s.Integrity; i != nil && (i.At <= 0 || i.At > 1<<40 || i.Verdict != "TRUSTED" && i.Verdict != "UNTRUSTED" && i.Verdict != "FAILED") {
		return fmt.Errorf("%w: a sync with a verdict that is none", token.ErrMalformed)
	}
	seen := map[uint16]bool{}
	for _, r := range s.Reports {
		known := r.Status == Live || r.Status == Discarded || r.Status == Used
		if !known || seen[r.Ctr] || (r.Status == Used) != (r.Tap != "") || len(r.Tap) > maxSealed || !printable(r.Tap) {
			return fmt.Errorf("%w: a report of a sync", token.ErrMalformed)
		}
		seen[r.Ctr] = true
	}
	return nil
}

// Proof is the public key of the device proofs to come.
func (s Sync) Proof() ([33]byte, error) {
	b, err := hex.DecodeString(s.ProofKey)
	if err != nil || len(b) != 33 || strings.ToUpper(s.ProofKey) != s.ProofKey {
		return [33]byte{}, fmt.Errorf("%w: dp_key is 66 upper-case hex digits", token.ErrMalformed)
	}
	if x, _ := elliptic.UnmarshalCompressed(elliptic.P256(), b); x == nil {
		return [33]byte{}, fmt.Errorf("%w: dp_key is not a point of P-256", token.ErrMalformed)
	}
	return [33]byte(b), nil
}

// printable reports whether s is ASCII that can be seen.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= 0x20 || c >= 0x7F {
			return false
		}
	}
	return true
}

// SignSync prints s as a compact JWS under the device's signing key.
func SignSync(s Sync, sign func(digest [32]byte) ([64]byte, error)) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("printing a sync: %w", err)
	}
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString([]byte(syncHeader)) + "." + b64.EncodeToString(body)
	sig, err := sign(sha256.Sum256([]byte(input)))
	if err != nil {
		return "", fmt.Errorf("signing a sync: %w", err)
	}
	return input + "." + b64.EncodeToString(sig[:]), nil
}

// Signed is a sync whose signature is still to be checked.
type Signed struct {
	Sync
	Digest [32]byte // over what was signed
	sig    [64]byte
}

// ReadSigned reads a compact JWS with the one header that there is.
func ReadSigned(jws string) (Signed, error) {
	bad := fmt.Errorf("%w: not a signed sync", token.ErrMalformed)
	parts := strings.Split(jws, ".")
	b64 := base64.RawURLEncoding.Strict()
	if len(jws) > MaxSync || len(parts) != 3 || parts[0] != b64.EncodeToString([]byte(syncHeader)) {
		return Signed{}, bad
	}
	body, err := b64.DecodeString(parts[1])
	if err != nil || strings.ContainsAny(parts[1]+parts[2], "\r\n") {
		return Signed{}, bad
	}
	sig, err := b64.DecodeString(parts[2])
	if err != nil || len(sig) != 64 {
		return Signed{}, bad
	}
	s := Signed{Digest: sha256.Sum256([]byte(parts[0] + "." + parts[1])), sig: [64]byte(sig)}
	s.Sync, err = ParseSync(body)
	return s, err
}

// Verify reports [ErrSigned] unless key, a key on P-256, signed s.
func (s Signed) Verify(key *ecdsa.PublicKey) error {
	r, v := new(big.Int).SetBytes(s.sig[:32]), new(big.Int).SetBytes(s.sig[32:])
	if key == nil || key.Curve != elliptic.P256() || !ecdsa.Verify(key, s.Digest[:], r, v) {
		return ErrSigned
	}
	return nil
}
