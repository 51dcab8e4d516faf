package ff1

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
)

// vectors are the known answers of testdata; each names its source.
type vectors struct {
	Functions []struct {
		Function string
		Vectors  []struct {
			ID string
			In struct {
				Key, Tweak, Plaintext string
				Radix                 int
			}
			Out struct {
				Ciphertext string
				Error      bool
			}
		}
	}
}

func load(t testing.TB) (v vectors) {
	t.Helper()
	raw, err := os.ReadFile("testdata/ff1.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	good, bad := 0, 0
	for _, f := range load(t).Functions {
		for _, v := range f.Vectors {
			c, err := New(unhex(t, v.In.Key), v.In.Radix)
			if err != nil {
				t.Fatalf("%s: %v", v.ID, err)
			}
			tweak := unhex(t, v.In.Tweak)
			got, err := c.Encrypt(tweak, v.In.Plaintext)
			if v.Out.Error {
				bad++
				if !errors.Is(err, ErrDomain) && !errors.Is(err, ErrNumeral) {
					t.Errorf("%s: not refused: %v", v.ID, err)
				}
				if _, err := c.Decrypt(tweak, v.In.Plaintext); err == nil {
					t.Errorf("%s: decrypted", v.ID)
				}
				continue
			}
			good++
			if err != nil || got != v.Out.Ciphertext {
				t.Errorf("%s: %q, %v; want %q", v.ID, got, err, v.Out.Ciphertext)
			}
			if back, err := c.Decrypt(tweak, v.Out.Ciphertext); err != nil || back != v.In.Plaintext {
				t.Errorf("%s: decrypts to %q, %v", v.ID, back, err)
			}
		}
	}
	if good < 53 || bad < 12 {
		t.Fatalf("only %d answers and %d refusals were checked", good, bad)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		key   int
		radix int
	}{{15, 10}, {0, 10}, {16, 1}, {16, 37}, {16, 0}, {33, 10}} {
		if _, err := New(make([]byte, c.key), c.radix); err == nil {
			t.Errorf("key of %d bytes, radix %d: accepted", c.key, c.radix)
		}
	}
}

func TestErrorsDoNotRepeatTheText(t *testing.T) {
	c, err := New(make([]byte, 16), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []string{"12345", "12345678x", "", strings.Repeat("1", maxLength+1)} {
		if _, err := c.Encrypt(nil, x); err == nil || x != "" && strings.Contains(err.Error(), x) {
			t.Errorf("%d characters: %v", len(x), err)
		}
	}
}

// TestPermutation: the smallest decimal domain maps onto itself, once each.
func TestPermutation(t *testing.T) {
	c, err := New(unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C"), 10)
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]bool, MinDomain)
	buf := []byte("000000")
	for n := range MinDomain {
		for i, k := 5, n; i >= 0; i, k = i-1, k/10 {
			buf[i] = byte('0' + k%10)
		}
		y, err := c.Encrypt([]byte("7"), string(buf))
		if err != nil {
			t.Fatal(err)
		}
		m := 0
		for i := range len(y) {
			m = m*10 + int(y[i]-'0')
		}
		if seen[m] {
			t.Fatalf("%s comes out twice", y)
		}
		seen[m] = true
	}
}

// FuzzFF1: decryption is the inverse of encryption, and both ways to compute
// agree where both can.
func FuzzFF1(f *testing.F) {
	for _, fn := range load(f).Functions {
		for _, v := range fn.Vectors {
			f.Add(unhex(f, v.In.Key), v.In.Radix, unhex(f, v.In.Tweak), v.In.Plaintext)
		}
	}
	f.Fuzz(func(t *testing.T, key []byte, radix int, tweak []byte, x string) {
		c, err := New(key, radix)
		if err != nil {
			return
		}
		y, err := c.Encrypt(tweak, x)
		if err != nil {
			return
		}
		back, err := c.Decrypt(tweak, y)
		if err != nil || back != x || len(y) != len(x) {
			t.Fatalf("%q -> %q -> %q, %v", x, y, back, err)
		}
		u := len(x) / 2
		m := new(big.Int).Exp(big.NewInt(int64(radix)), big.NewInt(int64(len(x)-u)), nil)
		for _, inverse := range []bool{false, true} {
			r := newRound(c, tweak, u, len(x)-u, bytesForBig(m))
			in, want := x, y
			if inverse {
				in, want = y, x
			}
			if got := c.cryptBig(r, in, m, inverse); got != want {
				t.Fatalf("the long way gives %q for %q, want %q", got, in, want)
			}
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	c, err := New(make([]byte, 32), 10)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encrypt([]byte("622848"), "0123456789"); err != nil {
			b.Fatal(err)
		}
	}
}
