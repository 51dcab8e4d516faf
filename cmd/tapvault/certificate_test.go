package main

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/assembly"
)

// TestNewCertificate: a pair that changed is shown; half of one is not.
func TestNewCertificate(t *testing.T) {
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for _, d := range dirs {
		if err := devCertificates(d, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := openCertificate(assembly.Config{TLS: assembly.TLS{CertFile: "server.pem", KeyFile: "server.key"}}.In(dirs[0]), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	shown := func() []byte {
		c.looked = time.Time{}
		cert, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Certificate[0]
	}
	first := shown()
	if leaf, err := x509.ParseCertificate(first); err != nil || !c.ends().Equal(leaf.NotAfter) {
		t.Errorf("it is said to end at %v: %v", c.ends(), err)
	}
	replace := func(name string) {
		b, err := os.ReadFile(filepath.Join(dirs[1], name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dirs[0], name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace("server.key")
	if !bytes.Equal(shown(), first) {
		t.Error("a certificate was shown whose key is another's")
	}
	replace("server.pem")
	if bytes.Equal(shown(), first) {
		t.Error("the new certificate is not shown")
	}
	if err := os.Remove(filepath.Join(dirs[0], "server.pem")); err != nil {
		t.Fatal(err)
	}
	if len(shown()) == 0 {
		t.Error("nothing is shown any more")
	}
}

// TestDoctorSaysAllOfACertificate: that one ends soon does not hide that it is not for
// the name where clients go.
func TestDoctorSaysAllOfACertificate(t *testing.T) {
	for at, want := range map[string]int{"localhost": 1, "other.example": 2} {
		dir := t.TempDir()
		if err := devCertificates(dir, time.Now().AddDate(-1, 0, 20)); err != nil {
			t.Fatal(err)
		}
		cfg := assembly.Config{TLS: assembly.TLS{CertFile: "server.pem", KeyFile: "server.key"}}.In(dir)
		cfg.Identity.IssuerURL = "https://" + at + ":8443"
		found := lookAtCertificate(t.Context(), cfg)
		if len(found) != want || !strings.Contains(found[0].Says, "it ends in") {
			t.Errorf("%s: %+v", at, found)
		}
	}
}
