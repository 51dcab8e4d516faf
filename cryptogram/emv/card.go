package emv

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Card is a card or token number and its sequence number. It does not print:
// the digits, of which the last two are the sequence number, are behind a
// pointer to a string, which no verb of fmt follows.
type Card struct{ digits *string }

// NewCard returns a card of 12 to 19 digits with a sequence number of two; an
// absent sequence number counts as 00.
func NewCard(pan, psn string) (Card, error) {
	if psn == "" {
		psn = "00"
	}
	if len(pan) < 12 || len(pan) > 19 || !decimal(pan) || len(psn) != 2 || !decimal(psn) {
		return Card{}, fmt.Errorf("%w: a card number has 12 to 19 digits and a sequence number two", ErrMalformed)
	}
	digits := pan + psn
	return Card{&digits}, nil
}

// Format prints nothing of the number, whatever the verb.
func (c Card) Format(f fmt.State, _ rune) { io.WriteString(f, "emv.Card") }

// number returns the digits, empty for the zero value.
func (c Card) number() (pan, psn string) {
	if c.digits == nil {
		return "", "00"
	}
	n := len(*c.digits) - 2
	return (*c.digits)[:n], (*c.digits)[n:]
}

// right returns the n rightmost digits of number and sequence number, filled
// with zeros on the left, as BCD.
func (c Card) right(n int) []byte {
	pan, psn := c.number()
	s := pan + psn
	if len(s) < n {
		s = strings.Repeat("0", n-len(s)) + s
	}
	return bcd(s[len(s)-n:])
}

// bcd packs an even number of digits.
func bcd(digits string) []byte {
	b, err := hex.DecodeString(digits)
	if err != nil {
		panic("emv: digits that were checked are none")
	}
	return b
}

func decimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// decimals scans hex digits for n decimal ones, then again for A to F, which
// count 0 to 5. It returns fewer when there are fewer than n hex digits.
func decimals(b []byte, n int) string {
	out := make([]byte, 0, n)
	for _, letters := range []bool{false, true} {
		for i := 0; i < 2*len(b) && len(out) < n; i++ {
			d := b[i/2] >> 4
			if i%2 == 1 {
				d = b[i/2] & 0x0F
			}
			switch {
			case d < 10 && !letters:
				out = append(out, '0'+d)
			case d >= 10 && letters:
				out = append(out, '0'+d-10)
			}
		}
	}
	return string(out)
}
