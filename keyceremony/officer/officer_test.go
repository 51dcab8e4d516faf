package officer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

func TestSealed(t *testing.T) {
	k, err := New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Seal(rand.Reader, "alice", []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, k.private.Seed()) {
		t.Error("the file holds the key")
	}
	name, again, err := Open(text, []byte("correct horse"))
	if err != nil || name != "alice" || again.Public().String() != k.Public().String() {
		t.Fatalf("Open = %q, %v", name, err)
	}
	if _, _, err := Open(text, []byte("wrong horse!")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if _, _, err := Open([]byte(strings.Replace(string(text), "alice", "mallo", 1)), []byte("correct horse")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another name: %v", err)
	}
	if _, err := k.Seal(rand.Reader, "alice", []byte("short")); !errors.Is(err, ErrMalformed) {
		t.Errorf("a short passphrase: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	inFile, _ := New(rand.Reader)
	other, _ := New(rand.Reader)
	for _, k := range []Signer{inFile, newOnToken(t)} {
		signs(t, k, other)
	}
}

// newOnToken is a key that a token in memory has.
func newOnToken(t *testing.T) Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return OnToken(&k.PublicKey, func(digest [32]byte) (sig [64]byte, err error) {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig, err
	}, func() {})
}

func signs(t *testing.T, k Signer, other Key) {
	t.Helper()
	p, err := ParsePublic(k.Public().String())
	if err != nil {
		t.Fatal(err)
	}
	sig, err := k.Sign("approval", []byte("plan"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify("approval", []byte("plan"), sig); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another plan":   p.Verify("approval", []byte("plam"), sig),
		"another domain": p.Verify("closing", []byte("plan"), sig),
		"another person": other.Public().Verify("approval", []byte("plan"), sig),
		"nobody":         Public{}.Verify("approval", []byte("plan"), sig),
		"a byte less":    p.Verify("approval", []byte("plan"), sig[:63]),
	} {
		if !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mine := k.Public().String()
	bad := []string{"", "ed25519:", "ed25519:AAAA", "p256:", "p256:04" + strings.Repeat("00", 64), mine + "=", strings.ToUpper(mine)}
	if digits, hex := strings.CutPrefix(mine, tokenPrefix); hex { // base64 in small letters may be another key
		bad = append(bad, tokenPrefix+strings.ToLower(digits))
	}
	for _, s := range bad {
		if _, err := ParsePublic(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParsePublic(%q): %v", s, err)
		}
	}
}

// FuzzOpen: whatever a file says, it is refused or bounded.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"what":"tapvault officer key 1","argon2id_time":4000000000}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := parse(text); err == nil && (k.Time > maxTime || k.Memory > maxMemory) {
			t.Error("a file asks for more than it may")
		}
	})
}

func TestParseList(t *testing.T) {
	k, err := New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one := k.Public().String()
	if got, err := ParseList([]byte("# ours\n\n" + one + "  alice, since 2026\n")); err != nil || len(got) != 1 || got[0] != one {
		t.Errorf("%v, %v", got, err)
	}
	for name, text := range map[string]string{"nobody": "# none\n", "twice": one + "\n" + one + " bob\n", "junk": "alice " + one + "\n", "cut": one[:len(one)-4] + "\n"} {
		if got, err := ParseList([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestOneSpelling: a key that is written in another way is none, or one person could
// stand for two.
func TestOneSpelling(t *testing.T) {
	k, err := New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := k.Public().String()
	for _, other := range []string{text + "\n", text[:20] + "\r\n" + text[20:]} {
		if _, err := ParsePublic(other); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", other, err)
		}
	}
	if p, err := ParsePublic(text); err != nil || p.String() != text {
		t.Errorf("%q: %v", text, err)
	}
}
