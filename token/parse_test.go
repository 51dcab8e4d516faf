package token_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// refuses holds an error to being of the malformed kind and to not repeating
// what it refuses.
func refuses(t *testing.T, what, s string, err error) {
	t.Helper()
	if !errors.Is(err, token.ErrMalformed) || fault.KindOf(err) != fault.Malformed {
		t.Errorf("%s %q: %v", what, s, err)
	} else if len(s) > 4 && strings.Contains(err.Error(), s) {
		t.Errorf("%s: the error repeats %q", what, s)
	}
}

func TestParsers(t *testing.T) {
	parsers := map[string]func(string) (string, error){
		"PAN":       func(s string) (string, error) { v, err := token.ParsePAN(s); return v.Reveal(), err },
		"number":    func(s string) (string, error) { v, err := token.ParseNumber(s); return v.Digits(), err },
		"requestor": func(s string) (string, error) { v, err := token.ParseRequestor(s); return string(v), err },
		"expiry":    func(s string) (string, error) { v, err := token.ParseExpiry(s); return string(v), err },
		"location":  func(s string) (string, error) { v, err := token.ParseLocation(s); return string(v), err },
		"day":       func(s string) (string, error) { v, err := token.ParseDay(s); return v.String(), err },
	}
	for what, cases := range map[string]struct{ good, bad []string }{
		"PAN": {[]string{pan16, "4111111111111111", "378282246310005", "6304000000000000", "000000000000", "0000000000000000000"},
			[]string{"", "6228481234567890", "62284812345", "62284812345678941234", "622848123456789x", " 228481234567894", "６228481234567893", "-228481234567894", "00000000000", "00000000000000000000"}},
		"number":    {[]string{num16, "1000000000000", "9999999999999999999"}, []string{"", "0100018765432102", "123456789012", "10000000000000000000", "910001876543210x"}},
		"requestor": {[]string{"12345678901", "00000000000"}, []string{"", "1234567890", "123456789012", "1234567890a"}},
		"expiry":    {[]string{"2612", "0001", "9912"}, []string{"", "2600", "2613", "261", "26123", "26 1", "abcd", "a105", "2:05"}},
		"location":  {[]string{"00", "03", "07"}, []string{"", "08", "3", "003", "13", "a3"}},
		"day":       {[]string{"2026-03-02", "2028-02-29"}, []string{"", "2026-02-29", "2026-13-01", "2026-3-2", "20260302", "2026-03-02T00:00:00Z"}},
	} {
		for _, s := range cases.good {
			if got, err := parsers[what](s); err != nil || got != s {
				t.Errorf("%s %q: %q, %v", what, s, got, err)
			}
		}
		for _, s := range cases.bad {
			_, err := parsers[what](s)
			refuses(t, what, s, err)
		}
	}
}

// TestPANOfOtherSigns: a letter whose number would make the check digit hold is no digit.
func TestPANOfOtherSigns(t *testing.T) {
	for check := range 10 {
		s := fmt.Sprint("62284812345678a", check)
		_, err := token.ParsePAN(s)
		refuses(t, "PAN", s, err)
	}
}

func TestExpiry(t *testing.T) {
	sh := time.FixedZone("", 8*3600)
	end := time.Date(2026, 3, 31, 23, 59, 59, 0, sh)
	for e, before := range map[token.Expiry]bool{"2602": true, "2603": false, "2604": false, "2512": true, "2701": false} {
		if e.Before(end) != before {
			t.Errorf("%s before the end of March: %v", e, e.Before(end))
		}
	}
	if !token.Expiry("2603").Before(end.Add(time.Second)) {
		t.Error("a card of March is good in April")
	}
	if got := token.ExpiryCovering(end); got != "2603" || got.Before(end) {
		t.Errorf("covering the end of March: %s", got)
	}
}

func TestASN(t *testing.T) {
	for digits, want := range map[string]string{
		num16:                 "00009100018765432102",
		"1234567890123":       "00000001234567890123",
		"1234567890123456789": "01234567890123456789",
	} {
		n, err := token.ParseNumber(digits)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%X", n.ASN()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestRef(t *testing.T) {
	seen := map[token.Ref]bool{}
	for range 100 {
		r, err := token.DrawRef(rand.Reader)
		if err != nil || !r.Valid() || seen[r] {
			t.Fatalf("%s, %v", r, err)
		}
		seen[r] = true
	}
	if _, err := token.DrawRef(bytes.NewReader(make([]byte, 15))); err == nil {
		t.Error("a reference was drawn from too little")
	}
	for _, r := range []token.Ref{"", "tr", pan16, num16, "trAAAAAAAAAAAAAAAAAAAAAAAAA1", "trAAAAAAAAAAAAAAAAAAAAAAAAA",
		"trAAAAAAAAAAAAAAAAAAAAAAAAAAA", "trAAAAAAAAAAAAAAAAAAAAAAAAAa", "xxAAAAAAAAAAAAAAAAAAAAAAAAAA", "tr0000000000" + pan16} {
		if r.Valid() {
			t.Errorf("%q passes for a reference", string(r))
		}
	}
}

func TestLuhn(t *testing.T) {
	for s, want := range map[string]byte{"411111111111111": '1', "622848123456789": '4', "0": '0', "": '0', "7992739871": '3'} {
		if got := token.LuhnDigit(s); got != want {
			t.Errorf("%q: %c, want %c", s, got, want)
		}
	}
}

func FuzzParsePAN(f *testing.F) {
	for _, s := range []string{pan16, "4111111111111111", "", "6228481234567890", "６228481234567893"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := token.ParsePAN(s)
		if err != nil {
			refuses(t, "PAN", s, err)
			return
		}
		if again, err := token.ParsePAN(p.Reveal()); err != nil || again.Reveal() != s || strings.Contains(fmt.Sprintf("%d", p), s) {
			t.Fatalf("%q comes back as %q, %v", s, again.Reveal(), err)
		}
	})
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{num16, "0100018765432102", "", "9999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := token.ParseNumber(s)
		if err != nil {
			refuses(t, "number", s, err)
			return
		}
		if got := strings.TrimLeft(fmt.Sprintf("%X", n.ASN()), "0"); got != s {
			t.Fatalf("%q shows as %q", s, got)
		}
	})
}

func FuzzParseCodes(f *testing.F) {
	for _, s := range []string{"2612", "03", "12345678901", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if e, err := token.ParseExpiry(s); err == nil {
			if when, err := time.Parse("0601", string(e)); err != nil || when.Format("0601") != s {
				t.Fatalf("%q is no month", s)
			}
		}
		if l, err := token.ParseLocation(s); err == nil && string(l) != s {
			t.Fatalf("%q", l)
		}
		if r, err := token.ParseRequestor(s); err == nil && string(r) != s {
			t.Fatalf("%q", r)
		}
		if r := token.Ref(s); r.Valid() && len(s) != 28 {
			t.Fatalf("%q passes for a reference", s)
		}
	})
}
