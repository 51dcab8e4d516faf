package trail

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// Summary is what [Verify] found in a whole trail. Keep it elsewhere: a trail
// that was cut short after a line still verifies, but no longer matches it.
type Summary struct {
	Lines uint64
	Last  string // SHA-256 of the last line, hex
}

// Verify reads a whole trail and returns an error of kind ErrBroken that names
// the first line which does not follow from the one before.
func Verify(path string) (Summary, error) {
	return VerifyEach(path, func([]byte) {})
}

// VerifyEach is Verify that also hands over each good line, without its end, to
// be looked at before it returns.
func VerifyEach(path string, each func(line []byte)) (Summary, error) {
	f, err := os.Open(path)
	if err != nil {
		return Summary{}, fmt.Errorf("verifying the audit trail: %w", err)
	}
	defer f.Close()
	return verify(f, func(_ line, b []byte) error { each(b); return nil })
}

// verify ends when each returns an error, and returns it.
func verify(r io.Reader, each func(l line, b []byte) error) (Summary, error) {
	in := bufio.NewReaderSize(r, maxLine)
	var s Summary
	var last [32]byte
	for {
		b, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(b) == 0 {
			if s.Lines > 0 {
				s.Last = hex.EncodeToString(last[:])
			}
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("%w: line %d is cut short or too long", ErrBroken, s.Lines+1)
		}
		b = b[:len(b)-1]
		l, err := parse(b)
		if err != nil {
			return s, fmt.Errorf("%w: line %d: %w", ErrBroken, s.Lines+1, err)
		}
		if l.Seq != s.Lines+1 || l.Previous != hex.EncodeToString(last[:]) {
			return s, fmt.Errorf("%w: line %d does not follow the line before it: one of the two was changed, or what stood between them is gone", ErrBroken, s.Lines+1)
		}
		s.Lines, last = s.Lines+1, sha256.Sum256(b)
		if err := each(l, b); err != nil {
			s.Last = hex.EncodeToString(last[:])
			return s, err
		}
	}
}
