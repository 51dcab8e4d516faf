//go:build linux

package chaos

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// everywhere is how a value could stand in bytes. What is shorter than a number or
// a key stands in many a hash by chance, and is looked for where a text begins.
func everywhere(value []byte) (forms [][]byte) {
	h := hex.EncodeToString(value)
	forms = lists(value)
	if len(value) < 7 {
		for _, before := range []string{`"`, "'", " ", "=", ":", "x"} {
			forms = append(forms, []byte(before+h), []byte(before+strings.ToUpper(h)))
		}
		return forms
	}
	forms = append(forms, []byte(h), []byte(strings.ToUpper(h)))
	backwards, swapped := slices.Clone(value), slices.Clone(value)
	slices.Reverse(backwards)
	for i, b := range value {
		swapped[i] = b<<4 | b>>4 // as SIM cards and some hosts pack digits
	}
	forms = append(forms, value, backwards, swapped, []byte(hex.EncodeToString(swapped)))
	forms = append(forms, wide(value)...)
	forms = append(forms, base64s(value)...)
	if len(value) >= 8 { // as the trace of a crash prints the words of a call
		forms = append(forms, fmt.Appendf(nil, "%x", binary.LittleEndian.Uint64(value)))
	}
	return forms
}

// lists are four bytes, as the trace of a crash prints those of an array, and six,
// as fmt does. Bytes that are alike are left out: many things are.
func lists(value []byte) (forms [][]byte) {
	for at := 0; at+4 <= len(value); at++ {
		if part := value[at : at+4]; different(part) {
			forms = append(forms, fmt.Appendf(nil, "0x%x, 0x%x, 0x%x, 0x%x", part[0], part[1], part[2], part[3]))
		}
	}
	if len(value) >= 6 {
		text := fmt.Sprint(value[:6])
		forms = append(forms, []byte(strings.Trim(text, "[]")), []byte(strings.ReplaceAll(strings.Trim(text, "[]"), " ", ",")))
	}
	return forms
}

func different(part []byte) bool {
	s := slices.Sorted(slices.Values(part))
	return len(slices.Compact(s)) >= 3
}

// wide is the text in UTF-16, without the edge in which both orders differ.
func wide(value []byte) [][]byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(string(value))) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return [][]byte{b[:len(b)-1]}
}

// base64s is the value at each of the three places that it can have among others,
// without the characters that depend on those.
func base64s(value []byte) (forms [][]byte) {
	for before := range 3 {
		b := append(make([]byte, before), value...)
		for _, form := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := form.EncodeToString(b)
			forms = append(forms, []byte(text[min(before, 1)*4:len(b)/3*4]))
		}
	}
	return forms
}
