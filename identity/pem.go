package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// MaxKeyText bounds the text of a public key, which may be a certificate's, in bytes.
const MaxKeyText = 64 << 10

// Texts that are no public key, and what to do about them. None is repeated.
var (
	errPrivate = errors.New("it is a private key, which never leaves its owner: give its public half " +
		"(openssl pkey -in FILE -pubout), and make a new pair if others could read this one")
	errPrivateJWK = errors.New("it is a private key, which never leaves its owner: give it without its private members (d and others), " +
		"and make a new pair if others could read this one")
	errSeveral = errors.New("it holds more than one key or certificate: give a file of the one that is meant")
	errRequest = errors.New("it is a certificate request: give the public key of it (openssl req -in FILE -noout -pubkey)")
	errSSH     = errors.New("it is a key of OpenSSH: give it as PEM (ssh-keygen -e -m PKCS8 -f FILE)")
	errDER     = errors.New("it is DER, or no text at all: give it as PEM (openssl pkey -pubin -inform DER -in FILE -pubout)")
	errNeither = errors.New("it is neither a JSON Web Key nor PEM with a public key or a certificate")
)

// PublicJWK returns the public key that text holds as a JSON Web Key: of PEM, as
// openssl makes it, a public key or a certificate, of which only the key counts; of a
// JSON Web Key, the text itself. What kind of key it is, [Client.Validate] judges.
func PublicJWK(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	switch block, rest := pem.Decode(text); {
	case len(text) > MaxKeyText:
		return nil, fmt.Errorf("it is longer than %d bytes", MaxKeyText)
	case len(text) == 0:
		return nil, errors.New("it is empty")
	case text[0] == '{':
		return publicOnly(text)
	case block != nil && strings.Contains(block.Type, "PRIVATE KEY"), block != nil && block.Type == "EC PARAMETERS":
		return nil, errPrivate // openssl ecparam puts the parameters before it
	case block != nil && len(bytes.TrimSpace(rest)) > 0:
		return nil, errSeveral
	case block != nil:
		return ofBlock(block)
	case bytes.HasPrefix(text, []byte("ssh-")), bytes.HasPrefix(text, []byte("ecdsa-sha2-")):
		return nil, errSSH
	case text[0] == 0x30 && bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }):
		return nil, errDER
	}
	return nil, errNeither
}

// publicOnly returns a JSON Web Key as it is, unless it is a private one.
func publicOnly(text []byte) ([]byte, error) {
	var k jose.JSONWebKey
	if json.Unmarshal(text, &k) == nil && k.Valid() && !k.IsPublic() {
		return nil, errPrivateJWK
	}
	return text, nil
}

func ofBlock(b *pem.Block) ([]byte, error) {
	var key any
	var err error
	switch b.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(b.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(b.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(b.Bytes); err == nil {
			key = c.PublicKey
		}
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return nil, errRequest
	default:
		return nil, errNeither
	}
	if err != nil {
		return nil, errors.New("its PEM is damaged, or of a key that is not known here")
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		return nil, errors.New("it is a key of a kind that is not known here: EC P-256, Ed25519 and RSA are")
	}
	return jwk, nil
}
