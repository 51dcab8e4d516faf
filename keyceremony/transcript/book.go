package transcript

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/internal/durable"
)

// Book is a transcript that is being written. It is locked against a second
// writer, and every record is on the disk when [Book.Add] returns.
type Book struct {
	file *os.File
	now  func() time.Time
	head string
	all  []Record
}

// Create begins a transcript in a new file.
func Create(path string, now func() time.Time) (*Book, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %s is there already: resume that ceremony, or name another folder", ErrExists, path)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the transcript: %w", err)
	}
	b := &Book{file: f, now: now, head: first}
	if err := b.lock(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, durable.Folder(filepath.Dir(path))
}

// Reopen goes on with an unfinished transcript. A record whose writing was cut
// off is taken away: nothing had relied on it. torn is how many bytes it had.
func Reopen(path string, now func() time.Time) (b *Book, torn int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the transcript: %w", err)
	}
	b = &Book{file: f, now: now, head: first}
	if torn, err = b.load(); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return b, torn, nil
}

func (b *Book) load() (torn int, err error) {
	if err := b.lock(); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(io.LimitReader(b.file, maxFile+1))
	if err != nil {
		return 0, fmt.Errorf("reading the transcript: %w", err)
	}
	var hashes []string
	if b.all, hashes, torn, err = chain(text); err != nil {
		return 0, err
	}
	if len(b.all) == 0 {
		return torn, b.file.Truncate(0)
	}
	if b.all[len(b.all)-1].Type == Closed {
		return 0, fmt.Errorf("%w: this ceremony is closed: nothing is added to it", ErrExists)
	}
	b.head = hashes[len(hashes)-1]
	if torn > 0 {
		if err := b.file.Truncate(int64(len(text) - torn)); err != nil {
			return 0, fmt.Errorf("cutting an unfinished record off: %w", err)
		}
	}
	_, err = b.file.Seek(0, io.SeekEnd)
	return torn, err
}

func (b *Book) lock() error {
	if err := unix.Flock(int(b.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%w: another program is writing this transcript", ErrExists)
	}
	return nil
}

// Records returns what is there.
func (b *Book) Records() []Record { return b.all }

// Head is the hash of the last record: what a signature is over.
func (b *Book) Head() string { return b.head }

// Add writes one record: number, time and what it follows are filled in here.
func (b *Book) Add(r Record) error {
	r.Number, r.Time, r.Prev = len(b.all)+1, stamp(b.now()), b.head
	if n := len(b.all); n > 0 && r.Time < b.all[n-1].Time {
		r.Time = b.all[n-1].Time // a clock that was set back
	}
	text, hash, err := r.line()
	if err != nil {
		return fmt.Errorf("writing the transcript: %w", err)
	}
	if len(text) > maxLine {
		return fmt.Errorf("writing the transcript: %w: a record of %d bytes", ErrBroken, len(text))
	}
	if _, err := b.file.Write(text); err != nil {
		return fmt.Errorf("writing the transcript: %w", err)
	}
	if err := b.file.Sync(); err != nil {
		return fmt.Errorf("writing the transcript: %w", err)
	}
	b.all, b.head = append(b.all, r), hash
	return nil
}

// Close ends the writing, finished or not.
func (b *Book) Close() error { return b.file.Close() }
