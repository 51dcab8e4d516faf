package auditor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Bounds of what is read at once.
const (
	maxLine  = 16 << 10
	maxBytes = 1 << 20 // of the lines of one answer
)

// lines reads up to limit whole lines of the record from a place on, and says
// where the next one begins.
func lines(f io.ReaderAt, from int64, limit int) (found []string, end int64, err error) {
	const all = 1<<63 - 1
	in := bufio.NewReaderSize(io.NewSectionReader(f, from, all-from), maxLine)
	for end = from; len(found) < limit && end-from < maxBytes; {
		b, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return found, end, nil // what is cut short is not a record yet
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: reading the record: %w", ErrKept, err)
		}
		found, end = append(found, string(b[:len(b)-1])), end+int64(len(b))
	}
	return found, end, nil
}

// kept is a line of the file of checkpoints.
type kept struct {
	At   time.Time `json:"at"`
	Note string    `json:"checkpoint"`
}

// keep appends a checkpoint durably.
func keep(f *os.File, note string, at time.Time) error {
	b, err := json.Marshal(kept{at.UTC(), note})
	if err == nil {
		_, err = f.Write(append(b, '\n'))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	return nil
}

// newest returns the last whole checkpoint of the file, or "", and cuts off one
// that a crash left half-written: it was never given out.
func newest(f *os.File) (note string, err error) {
	all, whole, err := Kept(f)
	if err != nil {
		return "", err
	}
	if err := f.Truncate(whole); err != nil {
		return "", fmt.Errorf("%w: %w", ErrKept, err)
	}
	if len(all) > 0 {
		note = all[len(all)-1]
	}
	return note, nil
}

// Kept reads the checkpoints that a file of them holds, and how long its whole
// lines are.
func Kept(r io.Reader) (notes []string, whole int64, err error) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		b, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return notes, whole, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: line %d: %w", ErrKept, len(notes)+1, err)
		}
		var k kept
		if err := json.Unmarshal(b, &k); err != nil || k.Note == "" {
			return nil, 0, fmt.Errorf("%w: line %d is none", ErrKept, len(notes)+1)
		}
		notes, whole = append(notes, k.Note), whole+int64(len(b))
	}
}
