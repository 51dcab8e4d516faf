package mask

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/tapvault/tapvault/token"
)

// PINSize is how many digits a PIN has.
const PINSize = 6

// PIN is a personal identification number. Its digits stand behind a pointer,
// so that no verb prints them; [PIN.Wipe] zeroes them for every copy.
type PIN struct{ d *[PINSize]byte }

// ParsePIN reads exactly six digits and copies them.
func ParsePIN(b []byte) (PIN, error) {
	if len(b) != PINSize {
		return PIN{}, fmt.Errorf("%w: a PIN has %d digits", token.ErrMalformed, PINSize)
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return PIN{}, fmt.Errorf("%w: a PIN has %d digits", token.ErrMalformed, PINSize)
		}
	}
	return PIN{(*[PINSize]byte)(slices.Clone(b))}, nil
}

// digits copies the digits; of the zero PIN they are six zeros, so that who has
// none to check can still do the work of checking one.
func (p PIN) digits() [PINSize]byte {
	if p.d == nil {
		return [PINSize]byte([]byte("000000"))
	}
	return *p.d
}

// AppendTo appends the digits to b, to be sealed.
func (p PIN) AppendTo(b []byte) []byte {
	d := p.digits()
	defer clear(d[:])
	return append(b, d[:]...)
}

// Wipe zeroes the digits.
func (p PIN) Wipe() {
	if p.d != nil {
		clear(p.d[:])
	}
}

// Format keeps every verb from printing digits.
func (p PIN) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "PIN") }

// LogValue keeps digits out of logs.
func (p PIN) LogValue() slog.Value { return slog.StringValue("PIN") }

// MarshalText refuses: a PIN travels sealed or not at all.
func (p PIN) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("%w: a PIN is not written out", token.ErrMalformed)
}

// Weakness is why a PIN may not be chosen.
type Weakness string

// Weaknesses. The zero value is none.
const (
	Strong   Weakness = ""
	Repeats  Weakness = "REPEATS"  // 111111, 121212, 123123, 112233, 123321
	Run      Weakness = "RUN"      // 123456, 098765, 135790
	Date     Weakness = "DATE"     // reads as a day
	Popular  Weakness = "POPULAR"  // chosen by too many
	Personal Weakness = "PERSONAL" // digits that the holder is known by
)

// Weak says whether p is one of those that are tried first. holder are numbers
// that others know of the holder: telephone, identity card, birthday. What is
// not a digit in them does not count.
func Weak(p PIN, holder ...string) Weakness {
	d := p.digits()
	defer clear(d[:])
	for _, h := range holder {
		if personal(d, h) {
			return Personal
		}
	}
	switch {
	case popular[string(d[:])], keypad(d):
		return Popular
	case repeats(d):
		return Repeats
	case run(d):
		return Run
	case date(d):
		return Date
	}
	return Strong
}

// personal reports whether the digits stand in the holder's number, forwards or
// backwards, or begin or end with all of a short one.
func personal(d [PINSize]byte, number string) bool {
	var only []byte
	for _, c := range []byte(number) {
		if c >= '0' && c <= '9' {
			only = append(only, c)
		}
	}
	pin := string(d[:])
	if len(only) == 4 { // a year, or the end of a number
		return strings.HasPrefix(pin, string(only)) || strings.HasSuffix(pin, string(only))
	}
	if strings.Contains(string(only), pin) {
		return true
	}
	slices.Reverse(only)
	return strings.Contains(string(only), pin)
}

// repeats covers PINs made of few parts: two digits at most, a part said twice
// or thrice, pairs, and mirrors.
func repeats(d [PINSize]byte) bool {
	kinds := map[byte]bool{}
	for _, c := range d {
		kinds[c] = true
	}
	pairs := d[0] == d[1] && d[2] == d[3] && d[4] == d[5]
	mirror := d[0] == d[5] && d[1] == d[4] && d[2] == d[3]
	return len(kinds) <= 2 || string(d[:3]) == string(d[3:]) || pairs || mirror
}

// run covers digits that rise or fall by the same step, beyond 9 from 0 again.
func run(d [PINSize]byte) bool {
	step := (d[1] - d[0] + 10) % 10
	for i := 2; i < PINSize; i++ {
		if (d[i]-d[i-1]+10)%10 != step {
			return false
		}
	}
	return true
}

// date covers ddmmyy, mmddyy, yymmdd and a year with its month.
func date(d [PINSize]byte) bool {
	n := func(i int) int { return int(d[i]-'0')*10 + int(d[i+1]-'0') }
	a, b, c := n(0), n(2), n(4)
	if (a == 19 || a == 20) && c >= 1 && c <= 12 {
		return true
	}
	return day(a, b) || day(b, a) || day(c, b)
}

func day(d, m int) bool {
	if m < 1 || m > 12 || d < 1 {
		return false
	}
	return d <= [...]int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[m-1]
}
