package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tapvault/tapvault/internal/digits"
	"github.com/tapvault/tapvault/internal/fault"
)

// ErrMalformed reports text that is not what it should be: a card number, a
// token number, a reference, a day. Messages that wrap it never repeat digits.
var ErrMalformed = fault.New(fault.Malformed, "malformed")

// PAN is a card number. Its digits sit behind a pointer and leave only through
// [PAN.Reveal]; printing, logging or marshalling a PAN shows its last four.
type PAN struct{ digits *string }

// Sealed opens a card number, with its expiry date, that was read and not
// opened yet.
type Sealed func(context.Context) (PAN, Expiry, error)

// ParsePAN reads a card number of 12 to 19 digits whose Luhn digit holds.
func ParsePAN(s string) (PAN, error) {
	if len(s) < 12 || len(s) > 19 {
		return PAN{}, fmt.Errorf("%w: card number must have 12 to 19 digits", ErrMalformed)
	}
	if !allDigits(s) {
		return PAN{}, fmt.Errorf("%w: card number must hold digits only", ErrMalformed)
	}
	if LuhnDigit(s[:len(s)-1]) != s[len(s)-1] {
		return PAN{}, fmt.Errorf("%w: card number fails its check digit", ErrMalformed)
	}
	d := s
	return PAN{&d}, nil
}

// Reveal returns the digits. Every caller is a place where a card number
// becomes visible; there are few.
func (p PAN) Reveal() string {
	if p.digits == nil {
		return ""
	}
	return *p.digits
}

// IsZero reports whether p holds no card number.
func (p PAN) IsZero() bool { return p.digits == nil }

// Len is the number of digits.
func (p PAN) Len() int { return len(p.Reveal()) }

// Last4 is what may be shown of a card number.
func (p PAN) Last4() string { return last4(p.Reveal()) }

// String shows the last four digits.
func (p PAN) String() string { return "PAN(…" + p.Last4() + ")" }

// Format keeps every verb, also %d and %#v, from printing digits.
func (p PAN) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(p.String())) }

// LogValue shows the last four digits.
func (p PAN) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalJSON refuses.
func (p PAN) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a card number is not marshalled; use Reveal")
}

// MarshalText refuses.
func (p PAN) MarshalText() ([]byte, error) {
	return nil, errors.New("a card number is not marshalled; use Reveal")
}

// LuhnDigit returns the check digit that completes the digits of s.
func LuhnDigit(s string) byte { return digits.CheckDigit(s) }

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// IsLast4 reports whether s could be the last four digits of a card.
func IsLast4(s string) bool { return len(s) == 4 && allDigits(s) }

func last4(s string) string {
	if len(s) < 4 {
		return ""
	}
	return s[len(s)-4:]
}
