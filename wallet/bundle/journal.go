package bundle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/tapvault/tapvault/cryptogram"
)

// Record is one spent slot, as the handset remembers it. It holds no MAC: what
// is kept readable must not help to test a PIN later.
type Record struct {
	Ctr      uint16
	Amount   uint32
	Type     cryptogram.Type
	Terminal [6]byte
	TermSeq  uint32
	At       cryptogram.DateTime
}

// Journal remembers which slots are spent.
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

// recordSize is a record on disk: its fields and a check sum.
const recordSize = 2 + 4 + 1 + 6 + 4 + 7 + 4

// File is a journal in a file of its own, flushed to the disk at each commit.
// One process has it open at a time.
type File struct {
	mu   sync.Mutex
	f    *os.File
	recs []Record
	torn bool // the last write may have left part of a record
}

var bundleID = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// OpenFile opens the journal of a bundle in dir, and makes it if there is
// none. A last record that was cut short is dropped: its purchase was never
// answered. Damage anywhere else is an error, because a slot could be hidden
// in it.
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
	return j, syncDir(dir)
}

func (j *File) load() error {
	b, err := os.ReadFile(j.f.Name())
	if err != nil {
		return fmt.Errorf("reading journal: %w", err)
	}
	whole := len(b) / recordSize * recordSize
	for i := 0; i < whole; i += recordSize {
		r, ok := parseRecord([recordSize]byte(b[i:]))
		if !ok {
			return fmt.Errorf("reading journal: record %d is damaged", i/recordSize)
		}
		j.recs = append(j.recs, r)
	}
	if err := j.f.Truncate(int64(whole)); err != nil {
		return fmt.Errorf("repairing journal: %w", err)
	}
	_, err = j.f.Seek(int64(whole), 0)
	return err
}

// Commit implements [Journal].
func (j *File) Commit(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := r.bytes()
	if j.torn { // what follows half a record could not be read
		return errors.New("writing journal: it was torn: open it again")
	}
	if _, err := j.f.Write(b[:]); err != nil {
		j.torn = true
		return fmt.Errorf("writing journal: %w", err)
	}
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("flushing journal: %w", err)
	}
	j.recs = append(j.recs, r)
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

func (r Record) bytes() (b [recordSize]byte) {
	binary.BigEndian.PutUint16(b[0:], r.Ctr)
	binary.BigEndian.PutUint32(b[2:], r.Amount)
	b[6] = byte(r.Type)
	copy(b[7:], r.Terminal[:])
	binary.BigEndian.PutUint32(b[13:], r.TermSeq)
	copy(b[17:], r.At[:])
	binary.BigEndian.PutUint32(b[24:], crc32.ChecksumIEEE(b[:24]))
	return b
}

func parseRecord(b [recordSize]byte) (Record, bool) {
	r := Record{
		Ctr:      binary.BigEndian.Uint16(b[0:]),
		Amount:   binary.BigEndian.Uint32(b[2:]),
		Type:     cryptogram.Type(b[6]),
		Terminal: [6]byte(b[7:]),
		TermSeq:  binary.BigEndian.Uint32(b[13:]),
		At:       cryptogram.DateTime(b[17:]),
	}
	return r, binary.BigEndian.Uint32(b[24:]) == crc32.ChecksumIEEE(b[:24])
}

// syncDir makes a new file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("flushing folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("flushing folder: %w", err)
	}
	return nil
}
