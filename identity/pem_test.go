package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
)

// inPEM is a block of der, as openssl writes it.
func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// TestPublicJWK: what openssl makes of a public key is the same key as the JSON Web Key
// of it.
func TestPublicJWK(t *testing.T) {
	key, rsaKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), must(rsa.GenerateKey(rand.Reader, 2048))
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ended := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bank"}, NotAfter: time.Unix(1, 0)}
	pkix := func(k any) string { return inPEM("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(k))) }
	for name, tc := range map[string]struct {
		text string
		key  any
	}{
		"EC":               {pkix(&key.PublicKey), &key.PublicKey},
		"RSA":              {pkix(&rsaKey.PublicKey), &rsaKey.PublicKey},
		"RSA of PKCS #1":   {inPEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), &rsaKey.PublicKey},
		"Ed25519":          {pkix(ed), ed},
		"certificate":      {inPEM("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, ended, ended, &key.PublicKey, key))), &key.PublicKey},
		"text before it":   {"Certificate:\n    Data:\n" + pkix(&key.PublicKey), &key.PublicKey},
		"lines of Windows": {strings.ReplaceAll(pkix(&key.PublicKey), "\n", "\r\n"), &key.PublicKey},
		"JSON Web Key":     {" \n" + string(jwk(&key.PublicKey)) + "\n", &key.PublicKey},
	} {
		got, err := identity.PublicJWK([]byte(tc.text))
		if err != nil || string(got) != string(jwk(tc.key)) {
			t.Errorf("%s: %s, %v", name, got, err)
			continue
		}
		c := identity.Client{ID: "issuer-1", Role: access.Issuer, Scopes: []access.Action{access.TokenRead}, JWK: got}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoPublicKey: what is no public key is refused with what to do, and never repeated.
func TestNoPublicKey(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sec1, pkcs8 := must(x509.MarshalECPrivateKey(key)), must(x509.MarshalPKCS8PrivateKey(key))
	public := must(x509.MarshalPKIXPublicKey(&key.PublicKey))
	for name, tc := range map[string]struct{ text, says string }{
		"EC PRIVATE KEY":     {inPEM("EC PRIVATE KEY", sec1), "private key, which never leaves its owner"},
		"of openssl ecparam": {inPEM("EC PARAMETERS", []byte{6, 1, 1}) + inPEM("EC PRIVATE KEY", sec1), "private key"},
		"PRIVATE KEY":        {inPEM("PRIVATE KEY", pkcs8), "openssl pkey -in FILE -pubout"},
		"under a passphrase": {inPEM("ENCRYPTED PRIVATE KEY", pkcs8), "private key"},
		"public, private":    {inPEM("PUBLIC KEY", public) + inPEM("PRIVATE KEY", pkcs8), "more than one"},
		"private JWK":        {string(jwk(key)), "private key"},
		"a chain":            {inPEM("CERTIFICATE", public) + inPEM("CERTIFICATE", public), "more than one"},
		"a request":          {inPEM("CERTIFICATE REQUEST", public), "openssl req"},
		"OpenSSH":            {"ecdsa-sha2-nistp256 AAAA bank", "ssh-keygen"},
		"DER":                {string(public), "it is DER"},
		"damaged":            {inPEM("PUBLIC KEY", public[1:]), "damaged"},
		"other PEM":          {inPEM("X509 CRL", public), "neither"},
		"a word":             {"secret-word", "neither"},
		"nothing":            {" \n", "empty"},
		"very long":          {"{" + strings.Repeat(" ", identity.MaxKeyText) + "}", "longer than"},
	} {
		got, err := identity.PublicJWK([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.says) || got != nil {
			t.Errorf("%s: %s, %v", name, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret-word") || strings.Contains(err.Error(), "BEGIN")) {
			t.Errorf("%s: repeated: %v", name, err)
		}
	}
}

func FuzzPublicJWK(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add([]byte(inPEM("PUBLIC KEY", []byte{0x30, 0})))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := identity.PublicJWK(text); err == nil && (len(got) == 0 || got[0] != '{') {
			t.Errorf("%q", got)
		}
	})
}
