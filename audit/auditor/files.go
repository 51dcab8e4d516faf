package auditor

import (
	"bufio"
	"bytes"
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

// keep appends a checkpoint durably to a file of a size, and returns its new
// size. What a failed write left of it is cut off, and it counts as not signed:
// a checkpoint that reached the disk all the same says nothing that is not so.
func keep(f *os.File, size int64, k kept) (int64, error) {
	b, err := json.Marshal(k)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return size, fmt.Errorf("%w: %w", ErrKept, errors.Join(err, f.Truncate(size)))
	}
	return size + int64(len(b)) + 1, nil
}

// newest returns the last whole checkpoint of the file, if there is one, and
// the size of the file. It cuts off one that a crash left half-written: it was
// never given out.
func newest(f *os.File) (k kept, size int64, err error) {
	st, err := f.Stat()
	if err != nil {
		return k, 0, fmt.Errorf("%w: %w", ErrKept, err)
	}
	from := max(0, st.Size()-2*maxLine)
	b := make([]byte, st.Size()-from)
	if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return k, 0, fmt.Errorf("%w: %w", ErrKept, err)
	}
	whole := bytes.LastIndexByte(b, '\n') + 1
	if size = from + int64(whole); size < st.Size() {
		if from > 0 && whole == 0 {
			return k, 0, fmt.Errorf("%w: it does not end in checkpoints", ErrKept)
		}
		if err := f.Truncate(size); err != nil {
			return k, 0, fmt.Errorf("%w: %w", ErrKept, err)
		}
	}
	if whole == 0 {
		return k, size, nil
	}
	line := b[bytes.LastIndexByte(b[:whole-1], '\n')+1 : whole]
	if k, err = parse(line); err != nil {
		return k, 0, fmt.Errorf("%w: its last line is none", ErrKept)
	}
	return k, size, nil
}

var errLine = errors.New("no line of a file of checkpoints")

func parse(line []byte) (k kept, err error) {
	if err := json.Unmarshal(line, &k); err != nil || k.Note == "" {
		return kept{}, errLine
	}
	return k, nil
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
		k, err := parse(b)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: line %d is none", ErrKept, len(notes)+1)
		}
		notes, whole = append(notes, k.Note), whole+int64(len(b))
	}
}
