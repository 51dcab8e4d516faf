package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/tapvault/tapvault/internal/freeport"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/cluster"
)

// TestServerGetsNewPapers: a server's certificate and its CA, and a password, are
// changed under a service that runs. Whoever connects anew finds what is in the files
// now, and what was there last while they are not to be read.
func TestServerGetsNewPapers(t *testing.T) {
	s, dsn := encrypted(t)
	roots := filepath.Join(t.TempDir(), "ca.pem")
	first, second := newCA(t), newCA(t)
	first.shownBy(t, s)
	write(t, roots, first.pem)
	passwords := filepath.Join(t.TempDir(), "pgpass")
	write(t, passwords, "*:*:*:*:first\n")
	d, err := store.Open(t.Context(), store.Config{DSN: dsn + "&sslrootcert=" + url.QueryEscape(roots) + "&passfile=" + url.QueryEscape(passwords)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // of connections that the server ended
	works := func(when string) {
		t.Helper()
		if err := again(t.Context(), s, d); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	works("before")
	write(t, roots, first.pem+second.pem)
	second.shownBy(t, s)
	works("a certificate of another CA, which was made known")
	write(t, roots, second.pem)
	works("the first CA is forgotten")
	write(t, roots, "half a file")
	works("a file that cannot be read")
	write(t, roots, first.pem)
	if err := again(t.Context(), s, d); err == nil {
		t.Error("a certificate of a CA that is not in the file was taken")
	}
	write(t, roots, second.pem)
	if err := s.Exec(t.Context(), s.At(dsn), "ALTER ROLE caller PASSWORD 'second'"); err != nil {
		t.Fatal(err)
	}
	write(t, passwords, "*:*:*:*:second\n")
	works("another password")
}

// again has the server end all connections, and uses new ones.
func again(ctx context.Context, s *cluster.Cluster, d *store.DB) error {
	if err := s.Exec(ctx, s.At("postgres://h/postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'"); err != nil {
		return err
	}
	var err error
	for range 20 { // one for each connection of the pool that was ended
		if err = d.Tx(ctx, func(tx *gorm.DB) error { return tx.Exec("SELECT 1").Error }); err == nil {
			return nil
		}
	}
	return err
}

// encrypted is a server that asks over TCP for TLS and a password.
func encrypted(t *testing.T) (*cluster.Cluster, string) {
	t.Helper()
	at, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cluster.Start(t.Context(), cluster.Options{Port: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	own := s.At("postgres://h/postgres")
	for _, q := range []string{"CREATE ROLE caller LOGIN PASSWORD 'first'", "COPY (SELECT 'local all all trust' UNION ALL SELECT 'hostssl all all 127.0.0.1/32 scram-sha-256') TO PROGRAM 'cat > pg_hba.conf'",
		"SELECT pg_reload_conf()"} {
		if err := s.Exec(t.Context(), own, q); err != nil {
			t.Fatal(err)
		}
	}
	return s, fmt.Sprintf("postgres://caller@%s/postgres?sslmode=verify-full", at)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newCA(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	return authority{key, c, pemOf(t, c, c, key, key)}
}

// shownBy gives a server a new certificate.
func (a authority) shownBy(t *testing.T, s *cluster.Cluster) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if err := s.Encrypt(t.Context(), []byte(pemOf(t, c, a.cert, key, a.key)), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		t.Fatal(err)
	}
}

func pemOf(t *testing.T, c, by *x509.Certificate, key, signs *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), signs)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
