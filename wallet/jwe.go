package wallet

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	jose "github.com/go-jose/go-jose/v4"
)

// maxDeviceKey bounds a device key before it is parsed.
const maxDeviceKey = 1024

// ParseKey reads a device's public EC P-256 JWK. A private part, another curve, a
// point off the curve or an unknown member is refused: a device that sends its
// private key has given it away.
func ParseKey(b []byte) (*ecdsa.PublicKey, error) {
	if len(b) > maxDeviceKey {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrDeviceKey, maxDeviceKey)
	}
	var k struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		X   string `json:"x"`
		Y   string `json:"y"`
		Use string `json:"use"`
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(&k) != nil || d.Decode(&struct{}{}) != io.EOF {
		return nil, fmt.Errorf("%w: not one JSON object of public members", ErrDeviceKey)
	}
	if k.Kty != "EC" || k.Crv != "P-256" || k.Use == "sig" || k.Alg != "" && k.Alg != string(jose.ECDH_ES_A256KW) {
		return nil, fmt.Errorf("%w: type, curve or use", ErrDeviceKey)
	}
	point := []byte{4}
	for _, coordinate := range []string{k.X, k.Y} {
		c, err := base64.RawURLEncoding.Strict().DecodeString(coordinate)
		if err != nil || len(c) != 32 {
			return nil, fmt.Errorf("%w: a coordinate is not 32 bytes", ErrDeviceKey)
		}
		point = append(point, c...)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("%w: not a point of the curve", ErrDeviceKey)
	}
	return pub, nil
}

// seal encrypts open to the device, with every header authenticated.
func seal(device *ecdsa.PublicKey, open []byte, headers map[string]any) (string, error) {
	opts := &jose.EncrypterOptions{}
	for k, v := range headers {
		opts.WithHeader(jose.HeaderKey(k), v)
	}
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: device}, opts)
	if err != nil {
		return "", fmt.Errorf("sealing bundle: %w", err)
	}
	obj, err := enc.Encrypt(open)
	if err != nil {
		return "", fmt.Errorf("sealing bundle: %w", err)
	}
	return obj.CompactSerialize()
}
