package psam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"sync"

	"github.com/tapvault/tapvault/internal/durable"
)

// errSpent ends a terminal's life after four thousand million transactions.
var errSpent = errors.New("psam: no transaction serials are left")

// Counter is a serial that starts again with the process, for tests.
type Counter struct {
	mu   sync.Mutex
	last uint32
}

// Next implements [Serial].
func (c *Counter) Next() (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == math.MaxUint32 {
		return 0, errSpent
	}
	c.last++
	return c.last, nil
}

// entrySize is a serial on disk with its check sum.
const entrySize = 8

// File is a serial in a file. Two places are written in turn, so a write that
// was cut short leaves the one before it. One process has it open at a time.
type File struct {
	mu   sync.Mutex
	f    *os.File
	last uint32
}

// OpenFile opens the serial in the file path, and starts one at 1 if there is
// none. A file that holds no whole serial is an error: starting again would
// repeat numbers.
func OpenFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening serial: %w", err)
	}
	s := &File{f: f}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := durable.Folder(filepath.Dir(path)); err != nil { // it may be new
		return nil, errors.Join(fmt.Errorf("flushing folder: %w", err), f.Close())
	}
	return s, nil
}

func (s *File) load() error {
	b, err := os.ReadFile(s.f.Name())
	if err != nil {
		return fmt.Errorf("reading serial: %w", err)
	}
	for i := 0; i+entrySize <= len(b); i += entrySize {
		if binary.BigEndian.Uint32(b[i+4:]) == crc32.ChecksumIEEE(b[i:i+4]) {
			s.last = max(s.last, binary.BigEndian.Uint32(b[i:]))
		}
	}
	if len(b) >= entrySize && s.last == 0 || len(b) > 2*entrySize {
		return errors.New("reading serial: the file is damaged")
	}
	return nil
}

// Next implements [Serial]. The number is on the disk when it returns. A number
// whose write failed is skipped.
func (s *File) Next() (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == math.MaxUint32 {
		return 0, errSpent
	}
	s.last++
	b := binary.BigEndian.AppendUint32(nil, s.last)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	if _, err := s.f.WriteAt(b, int64((s.last-1)%2)*entrySize); err != nil {
		return 0, fmt.Errorf("writing serial: %w", err)
	}
	if err := s.f.Sync(); err != nil {
		return 0, fmt.Errorf("flushing serial: %w", err)
	}
	return s.last, nil
}

// Close closes the file.
func (s *File) Close() error { return s.f.Close() }
