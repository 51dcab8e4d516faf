package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/internal/durable"
)

// Record is one slot that is gone, as the handset remembers it. It holds no MAC:
// what is kept readable must not help to test a PIN later. The zero type is a
// slot that was thrown away unused.
type Record struct {
	Ctr      uint16
	Amount   uint32
	Type     cryptogram.Type
	Terminal [6]byte
	TermSeq  uint32
	At       cryptogram.DateTime
	Sealed   string // all of the tap, readable by the service only
}

// Journal remembers which slots are spent. A handset that loses it must not use its
// bundles any more: it would pay twice from one slot.
type Journal interface {
	// Commit returns nil only when r would survive a power cut. When it fails,
	// r may be kept or not: the slot counts as spent either way.
	Commit(r Record) error
	// Records returns every committed record, oldest first.
	Records() ([]Record, error)
}

// Memory is a journal that dies with the process. It is for tests: after a
// restart it would sell a slot twice.
type Memory struct {
	mu   sync.Mutex
	recs []Record
}

// Commit implements [Journal].
func (m *Memory) Commit(r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recs = append(m.recs, r)
	return nil
}

// Records implements [Journal].
func (m *Memory) Records() ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.recs), nil
}

// A record on disk is its fields, the length of what is sealed, that, and a
// check sum.
const (
	fieldsSize = 2 + 4 + 1 + 6 + 4 + 7 + 2
	maxSealed  = 4096
)

// File is a journal in a file of its own, flushed to the disk at each commit.
// One process has it open at a time.
type File struct {
	mu   sync.Mutex
	f    *os.File
	recs []Record
	end  int64 // of the last record that is kept
	torn bool  // a write that failed may have left something behind end
}

var bundleID = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// OpenFile opens the journal of a bundle in dir, and makes it if there is
// none. A last record that was cut short, or is room that nothing was written into, is
// dropped: its purchase was never answered. Damage anywhere else is an error, because a
// slot could be hidden in it.
func OpenFile(dir, bundle string) (*File, error) {
	if !bundleID.MatchString(bundle) {
		return nil, errors.New("bundle: this id names no file")
	}
	path := filepath.Join(dir, bundle+".journal")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening journal: %w", err)
	}
	j := &File{f: f}
	if err := j.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := durable.Folder(dir); err != nil { // it may be new
		return nil, errors.Join(fmt.Errorf("flushing folder: %w", err), f.Close())
	}
	return j, nil
}

func (j *File) load() error {
	b, err := os.ReadFile(j.f.Name())
	if err != nil {
		return fmt.Errorf("reading journal: %w", err)
	}
	whole := 0
	for {
		r, n, err := parseRecord(b[whole:])
		empty := len(bytes.Trim(b[whole:], "\x00")) == 0
		if errors.Is(err, io.ErrUnexpectedEOF) || empty {
			break
		}
		if err != nil {
			return fmt.Errorf("reading journal: record %d is damaged", len(j.recs))
		}
		j.recs, whole = append(j.recs, r), whole+n
	}
	j.end = int64(whole)
	return j.cut()
}

// cut removes what stands behind the last record that is kept: nothing was answered
// for it, and what follows half a record could not be read.
func (j *File) cut() error {
	_, err := j.f.Seek(j.end, io.SeekStart)
	if err == nil {
		err = j.f.Truncate(j.end)
	}
	if err != nil {
		return fmt.Errorf("repairing journal: %w", err)
	}
	return nil
}

// Commit implements [Journal]. After one that failed it goes on where the last record
// ends, so a disk that was full for a moment does not end the handset.
func (j *File) Commit(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(r.Sealed) > maxSealed {
		return errors.New("writing journal: a sealed tap is too long")
	}
	if j.torn {
		if err := j.cut(); err != nil {
			return err
		}
	}
	b := r.bytes()
	j.torn = true
	if _, err := j.f.Write(b); err != nil {
		return fmt.Errorf("writing journal: %w", err)
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("flushing journal: %w", err)
	}
	j.recs, j.end, j.torn = append(j.recs, r), j.end+int64(len(b)), false
	return nil
}

// Records implements [Journal].
func (j *File) Records() ([]Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.recs), nil
}

// Close closes the file.
func (j *File) Close() error { return j.f.Close() }

func (r Record) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, r.Ctr)
	b = append(binary.BigEndian.AppendUint32(b, r.Amount), byte(r.Type))
	b = binary.BigEndian.AppendUint32(append(b, r.Terminal[:]...), r.TermSeq)
	b = binary.BigEndian.AppendUint16(append(b, r.At[:]...), uint16(len(r.Sealed)))
	b = append(b, r.Sealed...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// parseRecord reads the first record of b and says how long it is. It returns
// [io.ErrUnexpectedEOF] for one that was cut short.
func parseRecord(b []byte) (r Record, n int, err error) {
	if len(b) < fieldsSize {
		return r, 0, io.ErrUnexpectedEOF
	}
	sealed := int(binary.BigEndian.Uint16(b[fieldsSize-2:]))
	if n = fieldsSize + sealed + 4; sealed > maxSealed {
		return r, 0, errors.New("bundle: a record of an impossible length")
	}
	if len(b) < n {
		return r, 0, io.ErrUnexpectedEOF
	}
	if binary.BigEndian.Uint32(b[n-4:]) != crc32.ChecksumIEEE(b[:n-4]) {
		return r, 0, errors.New("bundle: a record's check sum")
	}
	return Record{
		Ctr:      binary.BigEndian.Uint16(b),
		Amount:   binary.BigEndian.Uint32(b[2:]),
		Type:     cryptogram.Type(b[6]),
		Terminal: [6]byte(b[7:]),
		TermSeq:  binary.BigEndian.Uint32(b[13:]),
		At:       cryptogram.DateTime(b[17:]),
		Sealed:   string(b[fieldsSize : fieldsSize+sealed]),
	}, n, nil
}
