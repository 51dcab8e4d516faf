// Package wire holds the JSON of the HTTP API, shared by server and client.
//
// Requests are read by [Decode], which is stricter than encoding/json: names
// match exactly, a name may stand once, unknown names and trailing text are
// refused, null is refused, and numbers are whole and inside their field's
// range. Every error is a [FieldError] that names the place and never repeats
// what stood there. Answers are read with encoding/json, so that a client
// built today still reads the answers of a later server.
//
// Byte fields are hexadecimal text of a fixed length, printed in upper case.
// Amounts, balances and limits are whole fen. Moments are RFC 3339; the date
// and time of a card transaction are what the terminal wrote, digits without
// a zone.
package wire

import "time"

// Bounds of a request, applied before it is parsed.
const (
	MaxBody    = 64 << 10 // bytes of a single request
	MaxBatch   = 1 << 20  // bytes of a batch
	MaxRecords = 500      // records in one batch
	MaxPage    = 100      // records on one page of a list
	MaxForm    = 16 << 10 // bytes of a token request to the authorisation endpoint
	MaxKeySize = 64       // characters of an Idempotency-Key
)

// FieldError says which field of a request is wrong and what it should be. It
// holds nothing of what was sent.
type FieldError struct {
	Path string // such as card.asn or taps[3].rand; empty for the whole body
	Text string
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return e.Text
	}
	return e.Path + ": " + e.Text
}

// under returns e as seen from one level further out.
func (e *FieldError) under(name string) *FieldError {
	switch {
	case e.Path == "":
		e.Path = name
	case e.Path[0] == '[':
		e.Path = name + e.Path
	default:
		e.Path = name + "." + e.Path
	}
	return e
}

// Body is a request that [Decode] can read.
type Body interface{ read(*decoder) *FieldError }

// Decode reads one request body into v. The error, if any, is a *FieldError.
func Decode(b []byte, v Body) error {
	d := decoder{b: b}
	err := v.read(&d)
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return err
	}
	return nil
}

// Problem is an RFC 9457 problem, the body of every answer that is not a
// success.
type Problem struct {
	Type     string `json:"type"`               // urn:tapvault:problem:<kind>
	Title    string `json:"title"`              // the same for every problem of the type
	Status   int    `json:"status"`             // the HTTP status
	Detail   string `json:"detail,omitempty"`   // what is wrong with this request
	Next     string `json:"next,omitempty"`     // what the caller can do about it
	Field    string `json:"field,omitempty"`    // the field at fault, where there is one
	Instance string `json:"instance,omitempty"` // urn:tapvault:request:<id>; quote it when asking the operator

	// OAuthError is the error code of RFC 6749 section 5.2, in answers of the
	// token endpoint only.
	OAuthError string `json:"error,omitempty"`
	// OAuthDetail is Detail again, where OAuth libraries look for it.
	OAuthDetail string `json:"error_description,omitempty"`
}

// AccessToken is the answer of POST /oauth2/token.
type AccessToken struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"` // Bearer
	ExpiresIn   int    `json:"expires_in"` // seconds
	Scope       string `json:"scope"`      // granted, separated by spaces
}

// Health is the answer of GET /healthz and GET /readyz: "ok" or "down", and
// for readiness the same for every part the service needs.
type Health struct {
	Status string            `json:"status"`
	Parts  map[string]string `json:"parts,omitempty"`
}

// Key is one key of the inventory. It holds nothing secret.
type Key struct {
	Label      string `json:"label"`
	Realm      string `json:"realm,omitempty"`
	Usage      string `json:"usage"`
	Version    int    `json:"version"`
	Class      string `json:"class"`                 // hsm; or software: computed with in memory, sealed by the HSM
	Type       string `json:"type"`                  // des3, aes, aes-256, sm4, hmac-sha256, ec-p256
	Role       string `json:"role"`                  // what the object may do
	Local      bool   `json:"local"`                 // generated inside the HSM
	CheckValue string `json:"check_value,omitempty"` // KCV, 6 hex digits
	State      string `json:"state"`
	Ceremony   string `json:"ceremony,omitempty"`   // that gave birth to it
	Transcript string `json:"transcript,omitempty"` // digest of its transcript
	Flag       string `json:"flag,omitempty"`       // what is wrong with it or its papers

	Tokens []string `json:"tokens,omitempty"` // of several tokens, those that hold it, by their place in the configuration
}

// Keys is the answer of GET /v1/keys.
type Keys struct {
	Keys []Key `json:"keys"`
}

// Range is a range of token numbers: a terminal takes a card whose number lies
// in one for a phone, whatever the card itself answers.
type Range struct {
	Prefix string `json:"prefix"`
	Length int    `json:"length"`
	Luhn   bool   `json:"luhn"` // the last digit is a check digit
}

// PublicKey is a P-256 public key as a JSON Web Key (RFC 7517). Coordinates
// are base64url of 32 bytes. A private member makes the request malformed.
type PublicKey struct {
	KeyType string `json:"kty"` // EC
	Curve   string `json:"crv"` // P-256
	X       string `json:"x"`
	Y       string `json:"y"`
	KeyID   string `json:"kid,omitempty"`
	Use     string `json:"use,omitempty"`
	Alg     string `json:"alg,omitempty"`
}

// Parameters is the answer of GET /v1/terminals/parameters: what a reader must
// hold to take phones.
type Parameters struct {
	AID        string `json:"aid"`         // hex
	Issuer     Hex8   `json:"issuer"`      // issuer id of file 0015
	KeyVersion uint8  `json:"key_version"` // of the slot purchase key, under which phones are given slots
	// KeyVersions are all versions of that key that readers must hold, those of
	// secure elements too.
	KeyVersions []int `json:"key_versions"`
	// ElementKeyVersion is that of secure elements; 0: there are none.
	ElementKeyVersion uint8       `json:"element_key_version"`
	AlgorithmID       uint8       `json:"algorithm_id"`    // as a phone answers it
	CapFen            uint32      `json:"cap_fen"`         // most that one slot pays
	ToleranceSec      int         `json:"tolerance_sec"`   // clocks may disagree by this much
	Ranges            []Range     `json:"ranges"`          // token ranges
	CredentialKeys    []PublicKey `json:"credential_keys"` // check the signature of a CRED
	ListVersion       uint64      `json:"list_version"`    // newest deny list
	IssuedAt          time.Time   `json:"issued_at"`
}
