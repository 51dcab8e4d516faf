package keyblock

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const (
	fixed     = 16   // characters of a header without optional blocks
	maxText   = 9999 // the length has four digits
	maxBlocks = 99   // their number has two
	shortData = 255  // an optional block up to this has a length of two digits
)

// Block is a key block taken apart. Nothing of it has been verified.
type Block struct {
	Header Header
	Field  []byte // the key, enciphered
	MAC    []byte
}

// Parse reads the text of a key block, strictly: what it reads, [Block.String]
// prints again. The error says what is wrong.
func Parse(text string) (Block, error) {
	var b Block
	if len(text) < fixed || len(text) > maxText {
		return b, fmt.Errorf("%w: %d characters", ErrMalformed, len(text))
	}
	f, ok := formats[Version(text[0])]
	if !ok {
		return b, fmt.Errorf("%w: unknown version", ErrMalformed)
	}
	if n, ok := decimal(text[1:5]); !ok || n != len(text) {
		return b, fmt.Errorf("%w: it does not have the length that it says", ErrMalformed)
	}
	h, rest, err := parseHeader(text)
	if err != nil {
		return b, err
	}
	if (len(text)-len(rest))%f.block != 0 {
		return b, fmt.Errorf("%w: the header does not fill its blocks", ErrMalformed)
	}
	raw, err := hex.DecodeString(rest)
	if err != nil || strings.ToUpper(rest) != rest {
		return b, fmt.Errorf("%w: the key field is not upper-case hex", ErrMalformed)
	}
	n := len(raw) - f.mac
	if n < f.block || n%f.block != 0 {
		return b, fmt.Errorf("%w: the key field does not fill its blocks", ErrMalformed)
	}
	return Block{h, raw[:n:n], raw[n:]}, nil
}

// parseHeader reads the header and returns what follows it.
func parseHeader(text string) (h Header, rest string, err error) {
	h = Header{
		Version: Version(text[0]), Usage: Usage(text[5:7]), Algorithm: Algorithm(text[7]), Mode: Mode(text[8]),
		KeyVersion: text[9:11], Export: Export(text[11]), Context: text[14],
	}
	count, ok := decimal(text[12:14])
	if !ok || text[15] != '0' {
		return h, "", fmt.Errorf("%w: bad count of optional blocks, or reserved character", ErrMalformed)
	}
	if err := h.letters(); err != nil {
		return h, "", err
	}
	rest = text[fixed:]
	for range count {
		var o Optional
		if o, rest, err = parseOptional(rest); err != nil {
			return h, "", err
		}
		h.Optional = append(h.Optional, o)
	}
	return h, rest, h.order()
}

// letters checks each field of a header by itself.
func (h Header) letters() error {
	switch {
	case len(h.Usage) != 2 || !capital(h.Usage[0]) || !capital(h.Usage[1]) && !digit(h.Usage[1]):
		return fmt.Errorf("%w: bad key usage", ErrMalformed)
	case !strings.ContainsRune("ADEHRST", rune(h.Algorithm)):
		return fmt.Errorf("%w: unknown algorithm", ErrMalformed)
	case !strings.ContainsRune("BCDEGNSTVXY", rune(h.Mode)):
		return fmt.Errorf("%w: unknown mode of use", ErrMalformed)
	case !keyVersion(h.KeyVersion):
		return fmt.Errorf("%w: bad key version", ErrMalformed)
	case !strings.ContainsRune("ENS", rune(h.Export)):
		return fmt.Errorf("%w: unknown exportability", ErrMalformed)
	case h.Context < '0' || h.Context > '2':
		return fmt.Errorf("%w: unknown key context", ErrMalformed)
	}
	return nil
}

// keyVersion accepts two capitals or digits, and c1 to c9 for components.
func keyVersion(v string) bool {
	if len(v) != 2 {
		return false
	}
	if v[0] == 'c' {
		return v[1] >= '1' && v[1] <= '9'
	}
	return (capital(v[0]) || digit(v[0])) && (capital(v[1]) || digit(v[1]))
}

// order checks that optional blocks are there once, and padding last.
func (h Header) order() error {
	seen := map[string]bool{}
	for i, o := range h.Optional {
		if seen[o.ID] || o.ID == Padding && i != len(h.Optional)-1 {
			return fmt.Errorf("%w: an optional block is there twice, or padding is not last", ErrMalformed)
		}
		seen[o.ID] = true
	}
	return nil
}

// parseOptional reads ID, length and data. A length over two digits is 00, 02
// and four digits; it must be needed.
func parseOptional(text string) (o Optional, rest string, err error) {
	bad := fmt.Errorf("%w: bad optional block", ErrMalformed)
	if len(text) < 4 {
		return o, "", bad
	}
	n, ok := hexNumber(text[2:4])
	head := 4
	if n == 0 {
		if len(text) < 10 || text[4:6] != "02" {
			return o, "", bad
		}
		n, ok = hexNumber(text[6:10])
		head = 10
		ok = ok && 4+n-head > shortData // what the short form cannot say
	}
	if !ok || n < head || n > len(text) {
		return o, "", bad
	}
	o = Optional{ID: text[:2], Data: text[head:n]}
	return o, text[n:], o.valid()
}

func (o Optional) valid() error {
	ok := len(o.ID) == 2 && (capital(o.ID[0]) || digit(o.ID[0])) && (capital(o.ID[1]) || digit(o.ID[1]))
	for i := range len(o.Data) {
		ok = ok && o.Data[i] >= ' ' && o.Data[i] <= '~'
	}
	if !ok || len(o.Data) > maxText {
		return fmt.Errorf("%w: bad optional block", ErrMalformed)
	}
	return nil
}

func (o Optional) String() string {
	if n := 4 + len(o.Data); n <= shortData {
		return fmt.Sprintf("%s%02X%s", o.ID, n, o.Data)
	}
	return fmt.Sprintf("%s0002%04X%s", o.ID, 10+len(o.Data), o.Data)
}

// padded returns h with an optional block of padding, if it needs one.
func (h Header) padded() Header {
	block := formats[h.Version].block
	n := 0
	for _, o := range h.Optional {
		n += len(o.String())
	}
	if _, ok := h.Lookup(Padding); ok || n%block == 0 {
		return h
	}
	fill := block - n%block
	if fill < 4 {
		fill += block
	}
	h.Optional = append(append([]Optional{}, h.Optional...), Optional{Padding, strings.Repeat("0", fill-4)})
	return h
}

// print prints a header for a block whose field and MAC have n characters. h
// has its padding.
func (h Header) print(n int) string {
	var opts strings.Builder
	for _, o := range h.Optional {
		opts.WriteString(o.String())
	}
	return fmt.Sprintf("%c%04d%s%c%c%s%c%02d%c0%s", h.Version, fixed+opts.Len()+n, h.Usage, h.Algorithm, h.Mode,
		h.KeyVersion, h.Export, len(h.Optional), h.Context, opts.String())
}

// String prints the block. It is the inverse of [Parse].
func (b Block) String() string {
	body := strings.ToUpper(hex.EncodeToString(b.Field) + hex.EncodeToString(b.MAC))
	return b.Header.print(len(body)) + body
}

func capital(b byte) bool { return b >= 'A' && b <= 'Z' }
func digit(b byte) bool   { return b >= '0' && b <= '9' }

// decimal reads digits and nothing else: no sign, no space.
func decimal(s string) (int, bool) {
	for i := range len(s) {
		if !digit(s[i]) {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// hexNumber reads upper-case hex digits and nothing else.
func hexNumber(s string) (int, bool) {
	for i := range len(s) {
		if !digit(s[i]) && (s[i] < 'A' || s[i] > 'F') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 16, 16)
	return int(n), err == nil
}
