package wire

import (
	"encoding/hex"
	"fmt"
	"log/slog"
)

// Fixed-length byte fields: hexadecimal text of twice the length.
type (
	Hex4  [4]byte  // MAC, TAC, card random
	Hex6  [6]byte  // terminal number
	Hex8  [8]byte  // issuer id, use descriptor
	Hex9  [9]byte  // authentication code of housing-ministry cards
	Hex10 [10]byte // application serial number
	Hex32 [32]byte // acknowledgement of a bundle
)

func printHex(b []byte) ([]byte, error) {
	out := make([]byte, 2*len(b))
	for i, c := range b {
		const digits = "0123456789ABCDEF"
		out[2*i], out[2*i+1] = digits[c>>4], digits[c&15]
	}
	return out, nil
}

func parseHex(dst, text []byte) error {
	if len(text) != 2*len(dst) {
		return fmt.Errorf("must be %d hex digits", 2*len(dst))
	}
	if _, err := hex.Decode(dst, text); err != nil {
		return fmt.Errorf("must be %d hex digits", 2*len(dst))
	}
	return nil
}

// MarshalText prints upper-case hex.
func (h Hex4) MarshalText() ([]byte, error) { return printHex(h[:]) }

// MarshalText prints upper-case hex.
func (h Hex6) MarshalText() ([]byte, error) { return printHex(h[:]) }

// MarshalText prints upper-case hex.
func (h Hex8) MarshalText() ([]byte, error) { return printHex(h[:]) }

// MarshalText prints upper-case hex.
func (h Hex9) MarshalText() ([]byte, error) { return printHex(h[:]) }

// MarshalText prints upper-case hex.
func (h Hex10) MarshalText() ([]byte, error) { return printHex(h[:]) }

// MarshalText prints upper-case hex.
func (h Hex32) MarshalText() ([]byte, error) { return printHex(h[:]) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex4) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex6) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex8) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex9) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex10) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex32) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// Date is the date of a card transaction, YYYYMMDD, kept as the BCD that the
// formulas take.
type Date [4]byte

// Time is the time of a card transaction, HHMMSS, kept as BCD.
type Time [3]byte

// MarshalText prints YYYYMMDD.
func (d Date) MarshalText() ([]byte, error) { return printHex(d[:]) }

// MarshalText prints HHMMSS.
func (t Time) MarshalText() ([]byte, error) { return printHex(t[:]) }

// UnmarshalText reads YYYYMMDD with a month from 01 to 12 and a day from 01
// to 31.
func (d *Date) UnmarshalText(b []byte) error {
	if len(b) != 8 || !allDigits(b) || !between(b[4:6], "01", "12") || !between(b[6:8], "01", "31") {
		return fmt.Errorf("must be a date, YYYYMMDD")
	}
	return parseHex(d[:], b)
}

// UnmarshalText reads HHMMSS.
func (t *Time) UnmarshalText(b []byte) error {
	if len(b) != 6 || !allDigits(b) || !between(b[:2], "00", "23") || !between(b[2:4], "00", "59") || !between(b[4:], "00", "59") {
		return fmt.Errorf("must be a time, HHMMSS")
	}
	return parseHex(t[:], b)
}

func between(b []byte, low, high string) bool { return low <= string(b) && string(b) <= high }

func allDigits[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0
}

// Digits is the text of a card number on its way in or out. It prints itself
// as nothing but a length; only JSON and [Digits.Reveal] show the digits.
type Digits struct{ s *string }

// NewDigits wraps s.
func NewDigits(s string) Digits { return Digits{&s} }

// Reveal returns the digits.
func (d Digits) Reveal() string {
	if d.s == nil {
		return ""
	}
	return *d.s
}

// Format keeps every verb from printing digits.
func (d Digits) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "(%d digits)", len(d.Reveal())) }

// LogValue shows the length only.
func (d Digits) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(d)) }

// MarshalText prints the digits.
func (d Digits) MarshalText() ([]byte, error) { return []byte(d.Reveal()), nil }

// UnmarshalText reads the digits.
func (d *Digits) UnmarshalText(b []byte) error { *d = NewDigits(string(b)); return nil }

// Hex5 is five bytes: the header of a command, or a part of a cryptogram.
type Hex5 [5]byte

// MarshalText prints upper-case hex.
func (h Hex5) MarshalText() ([]byte, error) { return printHex(h[:]) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex5) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// Bytes is a byte field of any length that its place allows: hexadecimal text.
type Bytes []byte

// MarshalText prints upper-case hex.
func (b Bytes) MarshalText() ([]byte, error) { return printHex(b) }

// UnmarshalText reads whole bytes of hex.
func (b *Bytes) UnmarshalText(text []byte) error {
	out := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(out, text); err != nil || len(text) == 0 {
		return fmt.Errorf("must be hex digits, two for each byte")
	}
	*b = out
	return nil
}

// Hex2 is two bytes: an authorisation response code.
type Hex2 [2]byte

// MarshalText prints upper-case hex.
func (h Hex2) MarshalText() ([]byte, error) { return printHex(h[:]) }

// UnmarshalText reads hex of exactly the right length.
func (h *Hex2) UnmarshalText(b []byte) error { return parseHex(h[:], b) }

// bytesUpTo reads 1 to high bytes.
func bytesUpTo(d *decoder, v *Bytes, high int) *FieldError {
	if err := parse(d, v); err != nil {
		return err
	}
	if len(*v) > high {
		return wrong("must be at most %d bytes", high)
	}
	return nil
}
