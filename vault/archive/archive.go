// Package archive is the sealed file that an export of a vault is kept in: records in order, opened by a passphrase.
//
// A file is one line of JSON that says how the key is made of the passphrase,
// and then frames: four bytes of length, big-endian, and a sealed chunk of
// records. Each chunk is AES-256-GCM under the file's own key; its nonce counts
// frames and marks the last one, and the line is its associated data. So no
// frame can be changed, left out, moved, or cut off unseen.
package archive

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/tapvault/tapvault/internal/fault"
)

// Errors.
var (
	ErrPassphrase = fault.New(fault.Malformed, "the passphrase must have 16 to 1024 bytes")
	ErrFormat     = fault.New(fault.Malformed, "this is no export of a vault")
	// ErrSealed reports a wrong passphrase or a changed file: nobody can tell
	// which.
	ErrSealed = fault.New(fault.Malformed, "the export does not open: the passphrase is wrong or the file was changed")
	ErrCut    = fault.New(fault.Malformed, "the export is not whole: its end is missing, or there is more after it")
)

const (
	format    = "tapvault-export-1"
	maxHeader = 1 << 12
	chunkSize = 1 << 16
	// MaxRecord bounds a record.
	MaxRecord = 1 << 20
	maxFrame  = chunkSize + MaxRecord + 64
)

// header says how the key is made.
type header struct {
	Format    string    `json:"format"`
	CreatedAt time.Time `json:"created_at"`
	KDF       string    `json:"kdf"`
	Time      uint32    `json:"time"`
	MemoryKiB uint32    `json:"memory_kib"`
	Threads   uint8     `json:"threads"`
	Salt      []byte    `json:"salt"`
}

// CheckPassphrase returns [ErrPassphrase] for one that seals nothing.
func CheckPassphrase(passphrase []byte) error {
	if len(passphrase) < 16 || len(passphrase) > 1024 {
		return ErrPassphrase
	}
	return nil
}

// key makes the file's key, within bounds: a file from elsewhere must not make
// us work for hours.
func (h header) key(passphrase []byte) (cipher.AEAD, error) {
	if err := CheckPassphrase(passphrase); err != nil {
		return nil, err
	}
	if h.Format != format || h.KDF != "argon2id" || h.Time < 1 || h.Time > 16 || h.MemoryKiB < 8<<10 || h.MemoryKiB > 1<<20 ||
		h.Threads < 1 || h.Threads > 16 || len(h.Salt) < 16 || len(h.Salt) > 64 {
		return nil, ErrFormat
	}
	key := argon2.IDKey(passphrase, h.Salt, h.Time, h.MemoryKiB, h.Threads, 32)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce of a frame. The key is one file's, so counting never repeats one.
func nonce(frame uint64, last bool) []byte {
	n := make([]byte, 12)
	if last {
		n[3] = 1
	}
	binary.BigEndian.PutUint64(n[4:], frame)
	return n
}

// Writer seals records. It is not safe for concurrent use.
type Writer struct {
	w     io.Writer
	aead  cipher.AEAD
	line  []byte
	chunk []byte
	frame uint64
}

// Create begins a file.
func Create(w io.Writer, passphrase []byte, now time.Time, rand io.Reader) (*Writer, error) {
	return create(w, passphrase, header{CreatedAt: now.UTC().Truncate(time.Second), Time: 3, MemoryKiB: 64 << 10, Threads: 4}, rand)
}

// create is Create at the cost that h says.
func create(w io.Writer, passphrase []byte, h header, rand io.Reader) (*Writer, error) {
	h.Format, h.KDF, h.Salt = format, "argon2id", make([]byte, 16)
	if _, err := io.ReadFull(rand, h.Salt); err != nil {
		return nil, fmt.Errorf("drawing a salt: %w", err)
	}
	aead, err := h.key(passphrase)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	if _, err := w.Write(line); err != nil {
		return nil, fmt.Errorf("writing the export: %w", err)
	}
	return &Writer{w: w, aead: aead, line: line}, nil
}

// Write adds a record. It may be kept in memory until there are enough.
func (w *Writer) Write(record []byte) error {
	if len(record) > MaxRecord {
		return fmt.Errorf("writing the export: a record of %d bytes", len(record))
	}
	w.chunk = binary.BigEndian.AppendUint32(w.chunk, uint32(len(record)))
	w.chunk = append(w.chunk, record...)
	if len(w.chunk) < chunkSize {
		return nil
	}
	return w.flush(false)
}

// Close ends the file, without which nobody opens it. It does not close what
// it wrote to.
func (w *Writer) Close() error { return w.flush(true) }

func (w *Writer) flush(last bool) error {
	sealed := w.aead.Seal(nil, nonce(w.frame, last), w.chunk, w.line)
	clear(w.chunk[:cap(w.chunk)])
	w.chunk = w.chunk[:0]
	w.frame++
	if _, err := w.w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(sealed)))); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	if _, err := w.w.Write(sealed); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

// Reader opens records. It is not safe for concurrent use.
type Reader struct {
	r       io.Reader
	aead    cipher.AEAD
	line    []byte
	chunk   []byte // opened, to be wiped
	rest    []byte // of it, to be read
	frame   uint64
	last    bool
	started time.Time
}

// Open reads how a file is sealed. A wrong passphrase shows at the first
// record.
func Open(r io.Reader, passphrase []byte) (*Reader, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, ErrFormat
	}
	aead, err := h.key(passphrase)
	if err != nil {
		return nil, err
	}
	return &Reader{r: r, aead: aead, line: line, started: h.CreatedAt}, nil
}

// readLine reads to the first line feed, byte by byte, so that it takes no
// more.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	var b [1]byte
	for len(line) < maxHeader {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, ErrFormat
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return line, nil
		}
	}
	return nil, ErrFormat
}

// CreatedAt is when the file says that it was made.
func (r *Reader) CreatedAt() time.Time { return r.started }

// Next returns a record, which is good until the next call, and [io.EOF] after
// the last one of a whole file.
func (r *Reader) Next() ([]byte, error) {
	for len(r.rest) == 0 {
		clear(r.chunk)
		if r.last {
			if n, err := r.r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				return nil, ErrCut
			}
			return nil, io.EOF
		}
		if err := r.open(); err != nil {
			return nil, err
		}
	}
	if len(r.rest) < 4 {
		return nil, ErrFormat
	}
	n := int64(binary.BigEndian.Uint32(r.rest))
	if n > int64(len(r.rest)-4) {
		return nil, ErrFormat
	}
	record := r.rest[4 : 4+n]
	r.rest = r.rest[4+n:]
	return record, nil
}

// open opens the next frame, as one in the middle or else as the last.
func (r *Reader) open() error {
	var size [4]byte
	if _, err := io.ReadFull(r.r, size[:]); err != nil {
		return ErrCut
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return ErrFormat
	}
	sealed := make([]byte, n)
	if _, err := io.ReadFull(r.r, sealed); err != nil {
		return ErrCut
	}
	plain, err := r.aead.Open(nil, nonce(r.frame, false), sealed, r.line)
	if err != nil {
		plain, err = r.aead.Open(nil, nonce(r.frame, true), sealed, r.line)
		r.last = true
	}
	if err != nil {
		return ErrSealed
	}
	r.chunk, r.rest = plain, plain
	r.frame++
	return nil
}
