package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
)

// confirmation binds a token to a client certificate (RFC 8705): who presents
// the token must hold the certificate's key.
type confirmation struct {
	X5T string `json:"x5t#S256"`
}

type certificateKey struct{}

// WithCertificate returns a context that carries the certificate with which the
// caller proved itself in the TLS handshake. No chain is asked for: the
// certificate only has to be the same one again.
func WithCertificate(ctx context.Context, cert *x509.Certificate) context.Context {
	return context.WithValue(ctx, certificateKey{}, Thumbprint(cert))
}

// Thumbprint names a certificate as RFC 8705 does.
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// certificateOf is the thumbprint of the caller's certificate, or "".
func certificateOf(ctx context.Context) string {
	s, _ := ctx.Value(certificateKey{}).(string)
	return s
}

// presented refuses a token that is bound to another certificate than the
// caller's.
func presented(ctx context.Context, bound string) error {
	if bound != "" && subtle.ConstantTimeCompare([]byte(bound), []byte(certificateOf(ctx))) != 1 {
		return fmt.Errorf("%w: the token is bound to another certificate", ErrRefused)
	}
	return nil
}
