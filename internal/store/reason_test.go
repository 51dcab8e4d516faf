package store

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestCertificateOfAServer: whose CA signed a server's certificate, and whose name
// is in it, is said in one line.
func TestCertificateOfAServer(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	cfg, err := pgconn.ParseConfig("postgres://u@" + s.Listener.Addr().String() + "/d?sslmode=verify-full&sslnegotiation=direct")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Fallbacks = nil
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for want, shown := range map[string]*tls.Config{
		"not made by the CA":    {ServerName: "127.0.0.1", RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12},
		"is not for other.test": {ServerName: "other.test", RootCAs: roots, MinVersion: tls.VersionTLS12},
	} {
		cfg.TLSConfig = shown
		_, err := pgconn.ConnectConfig(t.Context(), cfg)
		if said := mapError(err).Error(); !strings.Contains(said, want) || strings.Contains(said, "\n") {
			t.Errorf("%s: %s", want, said)
		}
	}
}
