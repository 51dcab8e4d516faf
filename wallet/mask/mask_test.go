package mask_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
)

const wallet = token.WalletID("wlAAAAAAAAAAAAAAAAAAAAAAAAAA")

func pin(t testing.TB, s string) mask.PIN {
	t.Helper()
	p, err := mask.ParsePIN([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSalt computes the salt by hand: both ends have to agree for years.
func TestSalt(t *testing.T) {
	sum := sha256.Sum256([]byte("hce/pin/v1" + string(wallet) + "\x00\x00\x01\x02"))
	if got := mask.Salt(wallet, 0x0102); got != [16]byte(sum[:16]) {
		t.Errorf("salt %X", got)
	}
	if mask.Salt(wallet, 1) == mask.Salt(wallet, 2) || mask.Salt(wallet, 1) == mask.Salt("wlBAAAAAAAAAAAAAAAAAAAAAAAAA", 1) {
		t.Error("a salt depends on wallet and epoch")
	}
}

func TestArgon2id(t *testing.T) {
	salt := mask.Salt(wallet, 1)
	want := argon2.IDKey([]byte("482915"), salt[:], 3, 64*1024, 1, 32)
	got := mask.Argon2id(pin(t, "482915"), salt)
	if !bytes.Equal(got[:], want) {
		t.Errorf("S is %s, want %s", hex.EncodeToString(got[:4]), hex.EncodeToString(want[:4]))
	}
	if got.Wipe(); got != (mask.Secret{}) {
		t.Error("S outlives Wipe")
	}
}

// TestMask computes both tiers' masks by hand.
func TestMask(t *testing.T) {
	s, hw := mask.Secret{1, 2, 3}, [32]byte{9, 8, 7}
	slot := mask.Slot{Bundle: [16]byte{0xB0, 15: 0x0B}, Ctr: 0x1234}
	key := [16]byte{0xAA, 15: 0x55}
	by := func(k, msg []byte) (out [16]byte) {
		m := hmac.New(sha256.New, k)
		m.Write(msg)
		sum := m.Sum(nil)
		for i := range out {
			out[i] = key[i] ^ sum[i]
		}
		return out
	}
	msg := append([]byte("hce/mask/v1"), slot.Bundle[:]...)
	msg = append(msg, 0x12, 0x34)
	for name, tc := range map[string]struct {
		hw   mask.HMAC
		want [16]byte
	}{
		"tier A": {mask.Software(&hw), by(hw[:], append(bytes.Clone(msg), s[:]...))},
		"tier B": {nil, by(s[:], msg)},
	} {
		got := key
		if err := mask.Apply(&got, &s, tc.hw, slot); err != nil || got != tc.want {
			t.Errorf("%s: %X, want %X (%v)", name, got, tc.want, err)
		}
		if err := mask.Apply(&got, &s, tc.hw, slot); err != nil || got != key {
			t.Errorf("%s: the mask does not come off (%v)", name, err)
		}
	}
	broken := errors.New("used up")
	got := key
	if err := mask.Apply(&got, &s, func([]byte) ([32]byte, error) { return [32]byte{1}, broken }, slot); !errors.Is(err, broken) || got != key {
		t.Errorf("hardware that refuses: %v, key %X", err, got)
	}
}

func TestPINDoesNotPrint(t *testing.T) {
	p := pin(t, "482915")
	held := struct{ P, q any }{p, p}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "pin", p, "in", held)
	text := fmt.Sprintf("%v %+v %#v %d %s %x %q %v", p, p, p, p, p, p, p, held) + log.String()
	if strings.Contains(text, "482915") || strings.Contains(text, hex.EncodeToString([]byte("482915"))) || strings.Contains(text, "52 56 50") {
		t.Errorf("it prints: %s", text)
	}
	if _, err := p.MarshalText(); err == nil {
		t.Error("it marshals")
	}
	if got := p.AppendTo([]byte("x")); string(got) != "x482915" {
		t.Errorf("sealed as %q", got)
	}
	if p.Wipe(); string(p.AppendTo(nil)) != "\x00\x00\x00\x00\x00\x00" {
		t.Error("digits outlive Wipe")
	}
	var none mask.PIN
	if none.Wipe(); string(none.AppendTo(nil)) != "000000" {
		t.Error("the zero PIN is not six zeros")
	}
}

func TestParsePIN(t *testing.T) {
	for _, bad := range []string{"", "12345", "1234567", "12345a", "12345 ", "-12345", "１２３４５６"} {
		if _, err := mask.ParsePIN([]byte(bad)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWeak(t *testing.T) {
	for p, want := range map[string]mask.Weakness{
		"000000": mask.Repeats, "777777": mask.Repeats, "404404": mask.Repeats, "919191": mask.Repeats,
		"338855": mask.Repeats, "948849": mask.Repeats, "188818": mask.Repeats, "112233": mask.Popular,
		"123456": mask.Popular, "567890": mask.Run, "890123": mask.Run, "321098": mask.Run, "135791": mask.Run,
		"310187": mask.Date, "290200": mask.Date, "870131": mask.Date, "013187": mask.Date, "198407": mask.Date,
		"147258": mask.Popular, "951357": mask.Popular, "520131": mask.Popular,
		"482915": mask.Strong, "907346": mask.Strong, "310487": mask.Strong, "730274": mask.Strong,
	} {
		if got := mask.Weak(pin(t, p)); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	for holder, p := range map[string]string{
		"+86 138 4829 1577": "482915", "138-7751-9284": "482915", "11010519491231002X": "949123", "4829": "482975", "7482": "597482",
	} {
		if got := mask.Weak(pin(t, p), "12", holder); got != mask.Personal {
			t.Errorf("%s of %s: %q", p, holder, got)
		}
	}
	if got := mask.Weak(pin(t, "482915"), "", "482", "13900001111"); got != mask.Strong {
		t.Errorf("a stranger's number: %q", got)
	}
}

// TestWeakEndsWhereItSays: each rule refuses its last PIN and leaves the next one, which
// differs in the one digit that the rule asks about.
func TestWeakEndsWhereItSays(t *testing.T) {
	for p, want := range map[string]mask.Weakness{
		"938938": mask.Repeats, "938937": mask.Strong, // a part said twice
		"338847": mask.Strong, "334788": mask.Strong, "473388": mask.Strong, // two pairs of three
		"948847": mask.Strong, "948859": mask.Strong, "948349": mask.Strong, // two thirds of a mirror
		"198401": mask.Date, "198400": mask.Strong, "198412": mask.Date, "198413": mask.Strong, // a year and its month
		"204511": mask.Date, "214511": mask.Strong, "184511": mask.Strong, // of which century
		"311287": mask.Date, "311387": mask.Strong, "310087": mask.Strong, // ddmmyy: the month
		"871201": mask.Date, "871200": mask.Strong, "871231": mask.Date, "871232": mask.Strong, // yymmdd: the day
		"870430": mask.Date, "870431": mask.Strong,
	} {
		if got := mask.Weak(pin(t, p)); got != want {
			t.Errorf("%s: %q, want %q", p, got, want)
		}
	}
	for holder, p := range map[string]string{"138 0019 9384": "001993", "48x29:1/5": "482915"} {
		if got := mask.Weak(pin(t, p), holder); got != mask.Personal {
			t.Errorf("%s of %s: %q", p, holder, got)
		}
	}
}

// TestMostPINsAreLeft: a list that refuses too much helps who guesses.
func TestMostPINsAreLeft(t *testing.T) {
	weak := map[mask.Weakness]int{}
	for n := range 1_000_000 {
		weak[mask.Weak(pin(t, fmt.Sprintf("%06d", n)))]++
	}
	if weak[mask.Strong] < 880_000 || weak[mask.Strong] > 960_000 || weak[mask.Popular] < 200 {
		t.Errorf("%v", weak)
	}
	t.Log(weak)
}

func FuzzPIN(f *testing.F) {
	f.Add([]byte("482915"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := mask.ParsePIN(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.AppendTo(nil), b) {
			t.Fatal("print is not the inverse of parse")
		}
		_ = mask.Weak(p, string(b[:4])) // and never panics
		if mask.Weak(p, "9"+string(b)+"9") != mask.Personal {
			t.Fatal("a PIN that stands in the holder's number is taken")
		}
	})
}
