package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tapvault/tapvault/internal/digits"
)

// decoder reads JSON from bytes that are all there. It never looks behind the
// body's type: a value that no field asks for is an error, so nesting is no
// deeper than the types themselves.
type decoder struct {
	b []byte
	i int
}

func wrong(format string, args ...any) *FieldError {
	return &FieldError{Text: fmt.Sprintf(format, args...)}
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\r', '\n':
			d.i++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, or 0 at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.i == len(d.b) {
		return 0
	}
	return d.b[d.i]
}

// take skips white space and consumes c if it is next.
func (d *decoder) take(c byte) bool {
	if d.peek() != c || d.i == len(d.b) {
		return false
	}
	d.i++
	return true
}

func (d *decoder) end() *FieldError {
	if d.space(); d.i != len(d.b) {
		return wrong("text follows the JSON value")
	}
	return nil
}

// name reads the name of a member.
func (d *decoder) name() ([]byte, *FieldError) {
	if d.peek() != '"' {
		return nil, wrong("must be a JSON object: it ends, or goes on without a name in double quotes, where a member is expected")
	}
	return d.text()
}

// text reads a string. Without escapes the result shares the body's memory.
func (d *decoder) text() ([]byte, *FieldError) {
	if !d.take('"') {
		return nil, wrong("must be a string")
	}
	start, escaped := d.i, false
	for ; d.i < len(d.b); d.i++ {
		switch c := d.b[d.i]; {
		case c == '"':
			raw := d.b[start:d.i]
			d.i++
			if escaped {
				return unescape(d.b[start-1 : d.i])
			}
			if !utf8.Valid(raw) {
				return nil, wrong("must be UTF-8")
			}
			return raw, nil
		case c == '\\':
			escaped = true
			d.i++
		case c < 0x20:
			return nil, wrong("a control character stands in a string")
		}
	}
	return nil, wrong("the body ends inside a string")
}

// unescape reads a string, quotes included, that holds escapes. Half of a
// surrogate pair is refused: it has no meaning as text.
func unescape(quoted []byte) ([]byte, *FieldError) {
	var s string
	if !utf8.Valid(quoted) || json.Unmarshal(quoted, &s) != nil {
		return nil, wrong("must be a JSON string in UTF-8")
	}
	for _, r := range s {
		if r == utf8.RuneError || r < 0x20 {
			return nil, wrong("a control or broken character stands in a string")
		}
	}
	return []byte(s), nil
}

// number reads a whole number from 0 to limit.
func (d *decoder) number(limit uint64) (uint64, *FieldError) {
	d.space()
	start, n := d.i, uint64(0)
	for ; d.i < len(d.b) && d.b[d.i] >= '0' && d.b[d.i] <= '9'; d.i++ {
		c := uint64(d.b[d.i] - '0')
		if n > limit/10 || n*10 > limit-c {
			return 0, wrong("must be a whole number from 0 to %d", limit)
		}
		n = n*10 + c
	}
	fraction := d.i < len(d.b) && (d.b[d.i] == '.' || d.b[d.i]|0x20 == 'e')
	if d.i == start || d.i-start > 1 && d.b[start] == '0' || fraction {
		return 0, wrong("must be a whole number from 0 to %d", limit)
	}
	return n, nil
}

// unsigned reads a number into v, whose type gives the limit.
func unsigned[N uint8 | uint16 | uint32 | uint64](d *decoder, v *N) *FieldError {
	n, err := d.number(uint64(^N(0)))
	*v = N(n)
	return err
}

// parse reads a string into anything that reads text.
func parse(d *decoder, v interface{ UnmarshalText([]byte) error }) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	if err := v.UnmarshalText(b); err != nil {
		return wrong("%s", err.Error())
	}
	return nil
}

// optional is parse for a field that may be absent.
func optional[T any, P interface {
	*T
	UnmarshalText([]byte) error
}](d *decoder, v **T) *FieldError {
	*v = new(T)
	return parse(d, P(*v))
}

// word reads printable ASCII of at least low and at most high characters.
func word(d *decoder, v *string, low, high int) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	ok := len(b) >= low && len(b) <= high
	for _, c := range b {
		ok = ok && c >= 0x20 && c < 0x7F
	}
	switch {
	case ok:
	case low == high:
		return wrong("must be %d printable ASCII characters", low)
	default:
		return wrong("must be %d to %d printable ASCII characters", low, high)
	}
	*v = string(b)
	return nil
}

// note reads free text that goes into a record. As many digits as a card number
// has are refused, however they are spaced: no record may hold one.
func note(d *decoder, v *string, high int) *FieldError {
	if err := word(d, v, 0, high); err != nil {
		return err
	}
	if digits.TooMany(*v) {
		*v = ""
		return wrong("must not hold more than %d digits", digits.Most)
	}
	return nil
}

// name reads an id: letters, digits, dots, dashes and underlines. Ids go into
// records, so one that could be a card number is refused.
func name(d *decoder, v *string, high int) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	if !IsName(string(b)) || len(b) > high {
		return wrong("must be 1 to %d letters, digits, dots, dashes and underlines, "+noCard, high)
	}
	*v = string(b)
	return nil
}

// noCard says what else a name may not hold.
const noCard = "without more than 11 digits between letters: it could hold a card number"

// IsName reports whether s may be an id in a path or body: 1 to 64 letters,
// digits, dots, dashes and underlines that could not hold a card number.
func IsName(s string) bool {
	ok := len(s) >= 1 && len(s) <= 64
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_' || c == '.'
	}
	return ok && !digits.InName(s)
}

// digitText reads low to high decimal digits.
func digitText(d *decoder, v *string, low, high int) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	switch {
	case len(b) >= low && len(b) <= high && allDigits(b):
		*v = string(b)
		return nil
	case low == high:
		return wrong("must be %d digits", low)
	}
	return wrong("must be %d to %d digits", low, high)
}

// choice reads one of the given words.
func choice(d *decoder, v *string, words ...string) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	for _, w := range words {
		if string(b) == w {
			*v = w
			return nil
		}
	}
	return wrong("must be one of %q", words)
}

// truth reads true or false.
func truth(d *decoder, v *bool) *FieldError {
	for word, is := range map[string]bool{"true": true, "false": false} {
		d.space()
		if bytes.HasPrefix(d.b[d.i:], []byte(word)) {
			d.i += len(word)
			*v = is
			return nil
		}
	}
	return wrong("must be true or false")
}

// civil reads a day, YYYY-MM-DD.
func civil(d *decoder, v *string) *FieldError {
	b, err := d.text()
	if err != nil {
		return err
	}
	if _, err := time.Parse(time.DateOnly, string(b)); err != nil {
		return wrong("must be a day, YYYY-MM-DD")
	}
	*v = string(b)
	return nil
}

// list reads at least one and at most limit values.
func list[T any](d *decoder, v *[]T, limit int, one func(*decoder, *T) *FieldError) *FieldError {
	if !d.take('[') {
		return wrong("must be a list")
	}
	if d.peek() == ']' {
		return wrong("must hold at least one item")
	}
	for {
		if len(*v) == limit {
			return wrong("must hold at most %d items", limit)
		}
		var item T
		if err := one(d, &item); err != nil {
			return err.under(fmt.Sprintf("[%d]", len(*v)))
		}
		*v = append(*v, item)
		if d.take(']') {
			return nil
		}
		if !d.take(',') {
			return wrong("must be a list")
		}
	}
}
