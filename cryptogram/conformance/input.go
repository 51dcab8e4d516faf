package conformance

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/tapvault/tapvault/cryptogram"
)

// longestData is how many bytes a MAC may be over: with a padding of 8, what a
// module is asked for at once.
const longestData = 2040

// input reads the members of a vector's "in". The first member that is missing
// or wrong is kept as the error; reading goes on with zeros, so that a
// computation can be written without looking at errors after each member.
type input struct {
	members map[string]json.RawMessage
	used    map[string]bool
	err     error
}

func (in *input) fail(name, why string) {
	if in.err == nil {
		in.err = fmt.Errorf("in.%s: %s", name, why)
	}
}

// complete returns the first error. A member that nothing read is an error
// too: it might change what the answer should be.
func (in *input) complete() error {
	if in.err != nil {
		return in.err
	}
	for name := range in.members {
		if !in.used[name] && in.has(name) {
			return fmt.Errorf("in.%s: no member of this function", name)
		}
	}
	return nil
}

// has reports whether a member is there; null counts as absent.
func (in *input) has(name string) bool {
	in.used[name] = true
	raw, ok := in.members[name]
	return ok && string(raw) != "null"
}

// hex reads a member of n bytes.
func (in *input) hex(name string, n int) []byte {
	if !in.has(name) {
		in.fail(name, "is missing")
		return make([]byte, n)
	}
	b, err := parseHex(in.members[name])
	if err == nil && len(b) != n {
		err = fmt.Errorf("has %d bytes, not %d", len(b), n)
	}
	if err != nil {
		in.fail(name, err.Error())
		return make([]byte, n)
	}
	return b
}

// bytes reads a member of least to most bytes.
func (in *input) bytes(name string, least, most int) []byte {
	if !in.has(name) {
		in.fail(name, "is missing")
		return make([]byte, least)
	}
	b, err := parseHex(in.members[name])
	if err == nil && (len(b) < least || len(b) > most) {
		err = fmt.Errorf("has %d bytes, not %d to %d", len(b), least, most)
	}
	if err != nil {
		in.fail(name, err.Error())
		return make([]byte, least)
	}
	return b
}

// str reads a string that has to be there.
func (in *input) str(name string) string {
	if !in.has(name) {
		in.fail(name, "is missing")
	}
	return in.text(name, "")
}

// number reads an integer from 0 to max.
func (in *input) number(name string, max uint64) uint64 {
	if !in.has(name) {
		in.fail(name, "is missing")
		return 0
	}
	n, err := strconv.ParseUint(string(in.members[name]), 10, 64)
	if err != nil || n > max {
		in.fail(name, fmt.Sprintf("is not an integer from 0 to %d", max))
		return 0
	}
	return n
}

// length reads how many bytes of a MAC are kept: 4 to 8.
func (in *input) length() uint64 {
	n := in.number("length", 8)
	if n < 4 {
		in.fail("length", "is not from 4 to 8")
		return 4
	}
	return n
}

// choice reads an optional integer.
func (in *input) choice(name string, otherwise, max uint64) uint64 {
	if !in.has(name) {
		return otherwise
	}
	return in.number(name, max)
}

// text reads an optional string.
func (in *input) text(name, otherwise string) (s string) {
	if !in.has(name) {
		return otherwise
	}
	if json.Unmarshal(in.members[name], &s) != nil {
		in.fail(name, "is not a string")
	}
	return s
}

// at reads date and time. They go into MACs as they are, so that any digits
// do: a card signs what its terminal wrote.
func (in *input) at() (d cryptogram.DateTime) {
	copy(d[:4], in.digits("date", 4))
	copy(d[4:], in.digits("time", 3))
	return d
}

// digits reads a member of n bytes of decimal digits.
func (in *input) digits(name string, n int) []byte {
	b := in.hex(name, n)
	for _, x := range b {
		if x>>4 > 9 || x&0x0F > 9 {
			in.fail(name, "has other characters than digits")
		}
	}
	return b
}

// parseHex reads a JSON string of hex digits.
func parseHex(raw json.RawMessage) ([]byte, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, errors.New("is not a string of hex digits")
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, errors.New("is not a string of hex digits")
	}
	return b, nil
}
