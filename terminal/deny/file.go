package deny

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/internal/durable"
)

// ErrGone is what a [Source] answers when it cannot lead on from a version.
var ErrGone = errors.New("deny: no delta leads on from this version")

// Source is where lists come from. What it gives is not believed before its
// signature holds.
type Source interface {
	Snapshot(ctx context.Context) ([]byte, error)
	// Delta returns what leads on from a version; nil when whoever holds tag has
	// the newest; [ErrGone] when only a snapshot helps.
	Delta(ctx context.Context, from uint64, tag string) ([]byte, error)
}

// maxDeltas is how many deltas a file keeps before it asks for a snapshot.
const maxDeltas = 300

// File is a list on disk: the last snapshot and the deltas since, as they were
// signed, so that what is read after a power cut is checked like what comes
// over the network. It is replaced as a whole, never written in place. It is
// safe for concurrent use by one process.
type File struct {
	path   string
	pinned Keys
	list   atomic.Pointer[List]
	mu     sync.Mutex // one change at a time; guards docs
	docs   [][]byte   // a snapshot, then deltas
}

// OpenFile opens the list in the file path. Without one, the list is that of a
// reader that has heard nothing. A file that cannot be read back is an error:
// who removes it starts anew, with a reader that takes little until it has
// heard a list.
func OpenFile(path string, pinned Keys) (*File, error) {
	f := &File{path: path, pinned: pinned}
	f.list.Store(&List{})
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the deny list: %w", err)
	}
	if f.docs, err = parseFile(b); err != nil {
		return nil, fmt.Errorf("reading the deny list: %w", err)
	}
	for i, doc := range f.docs {
		if i > 0 && doc[0] != deltaFormat {
			return nil, fmt.Errorf("reading the deny list: %w: two snapshots", ErrMalformed)
		}
		next, err := f.Current().Take(doc, pinned, time.Time{}) // each was taken after the one before it
		if err != nil {
			return nil, fmt.Errorf("reading the deny list: %w", err)
		}
		f.list.Store(next)
	}
	return f, nil
}

// Current is the newest list that is on the disk.
func (f *File) Current() *List { return f.list.Load() }

// Take takes a snapshot or a delta in, once it is on the disk. What is not
// signed or does not follow changes nothing.
func (f *File) Take(doc []byte, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, err := f.Current().Take(doc, f.pinned, now)
	if err != nil {
		return err
	}
	docs := follow(f.docs, append([]byte(nil), doc...))
	if err := durable.Replace(f.path, printFile(docs)); err != nil {
		return fmt.Errorf("keeping the deny list: %w", err)
	}
	f.docs = docs
	f.list.Store(next)
	return nil
}

// follow returns docs with doc. Of deltas that only say that nothing changed,
// the newest is kept.
func follow(docs [][]byte, doc []byte) [][]byte {
	if doc[0] != deltaFormat {
		return [][]byte{doc}
	}
	if last := len(docs) - 1; last > 0 && quiet(docs[last]) {
		docs = docs[:last]
	}
	return append(docs[:len(docs):len(docs)], doc)
}

func quiet(doc []byte) bool {
	d, err := ParseDelta(doc)
	return err == nil && d.From == d.To
}

// Update asks src for what is newer and takes it in.
func (f *File) Update(ctx context.Context, src Source, now time.Time) error {
	f.mu.Lock()
	held := len(f.docs)
	f.mu.Unlock()
	if held > maxDeltas && f.renew(ctx, src, now) == nil {
		return nil
	}
	if held > 0 { // also where no snapshot comes: a list that is long hears denials
		l := f.Current()
		doc, err := src.Delta(ctx, l.version, l.Tag())
		switch {
		case err == nil && doc == nil:
			return nil
		case err == nil:
			err = f.Take(doc, now)
		}
		if !errors.Is(err, ErrGone) && !errors.Is(err, ErrOrder) {
			return err
		}
	}
	return f.renew(ctx, src, now)
}

// renew takes a snapshot in, in the place of all that is held.
func (f *File) renew(ctx context.Context, src Source, now time.Time) error {
	doc, err := src.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("fetching the deny list: %w", err)
	}
	return f.Take(doc, now)
}

// parseFile reads documents, each behind its length.
func parseFile(b []byte) (docs [][]byte, err error) {
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: a file that ends early", ErrMalformed)
		}
		n := binary.BigEndian.Uint32(b)
		if b = b[4:]; n == 0 || uint64(n) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: a file that ends early", ErrMalformed)
		}
		docs, b = append(docs, b[:n:n]), b[n:]
	}
	return docs, nil
}

func printFile(docs [][]byte) (b []byte) {
	for _, d := range docs {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(d))), d...)
	}
	return b
}
