package cli_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"go.yaml.in/yaml/v3"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/cli"
)

// TestPlain: what the operating system and the network say is told in plain
// words, and what this program says stays as it is.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := func(_ any, err error) error { return err }
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	at := listener.Addr().String()
	_, taken := net.Listen("tcp", at)
	for _, x := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("as it is"), "as it is"},
		{fmt.Errorf("holding: %w", context.Canceled), "holding: it was interrupted"},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), "asking: it took too long"},
		{fmt.Errorf("asking: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
			"asking: the certificate shown there was not made by a CA that is trusted here (--ca names one)"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Host: "a.example", Certificate: &x509.Certificate{}}},
			"the certificate shown there is not for a.example"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}},
			"the certificate shown there has ended, or has not begun"},
		{fmt.Errorf("reading x: %w", failed(os.Open(dir+"/none"))), "reading x: there is no file " + dir + "/none"},
		{failed(os.ReadFile(dir)), dir + " is a folder"},
		{failed(os.Open(file + "/below")), file + "/below goes through what is no folder"},
		{failed(os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o600)), file + " exists already"},
		{fmt.Errorf("listening: %w", taken), "listening: " + at + " is taken by another program"},
		{failed(os.Stat("/none/a")), "there is no folder /none"},
		{errors.Join(failed(os.Stat(dir+"/a")), errors.New("and"), failed(os.Stat(dir+"/b"))),
			"there is no file " + dir + "/a\nand\nthere is no file " + dir + "/b"},
	} {
		if got := cli.Plain(x.err); got != x.want {
			t.Errorf("%v: %q, want %q", x.err, got, x.want)
		}
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unix", dir+"/socket"); cli.Plain(err) != "there is no socket "+dir+"/socket" {
		t.Errorf("%s", cli.Plain(err))
	}
}

// TestFill: paragraphs are filled, lists keep their columns, and no word is lost.
func TestFill(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("word ", 40))
	text := cli.Fill("one\n" + long + "\n\n  name  " + long + "\n  example --flag\nend")
	lines := strings.Split(text, "\n")
	if lines[0] != "one "+strings.TrimSpace(strings.Repeat("word ", 15)) || lines[len(lines)-1] != "end" {
		t.Errorf("%s", text)
	}
	if strings.Count(text, "word") != 80 || !strings.Contains(text, "\n        word") || !strings.Contains(text, "\n  example --flag\n") {
		t.Errorf("%s", text)
	}
	for _, l := range lines {
		if len(l) > cli.Columns {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
}

type script struct {
	Quorum int `yaml:"quorum"`
}

// TestPlainYAML: what a decoder says of fields has no names of Go's types.
func TestPlainYAML(t *testing.T) {
	var v script
	d := yaml.NewDecoder(strings.NewReader("quorum: many\nqourum: 2\n"))
	d.KnownFields(true)
	got := cli.Plain(fmt.Errorf("reading: %w", d.Decode(&v)))
	want := "reading: line 1: \"many\" is not a whole number that fits here\nline 2: there is no field qourum here: is it misspelt, or indented too little or too far?"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
