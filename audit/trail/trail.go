// Package trail keeps audit records in an append-only file of JSON lines in
// which each line carries the hash of the one before, so that a line changed,
// removed or moved later shows.
package trail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/trace"
)

// Errors.
var (
	// ErrDown reports a record that could not be made durable.
	ErrDown = fault.New(fault.AuditDown, "what must be recorded could not be")
	// ErrBroken reports a trail that was edited, or lost lines.
	ErrBroken = fault.New(fault.AuditDown, "the audit trail is broken")
)

// Config says where the trail is.
type Config struct {
	Path string           // created with mode 0600
	Now  func() time.Time // nil: time.Now
	Tree Tree             // over the lines; nil: none
	// Wait is for how long a process that writes the trail is waited for. It is
	// for trails that are open for a moment only.
	Wait time.Duration
}

// Tree is told of all lines, in order, without their ends. It keeps none of their
// memory. A tree that fails does not hold records up: [Trail.Health] tells of it.
type Tree interface {
	// Resume is told how many lines there are, and the last of them; all reads
	// the trail from its first line.
	Resume(lines int64, last []byte, all io.Reader) error
	Append(lines [][]byte) error
	Health() error
}

// Trail is an open trail, which one process writes at a time. It implements
// [audit.Recorder] and [audit.Beginner], and is safe for concurrent use.
type Trail struct {
	file File
	here func() error // fails when the file is not where it was
	now  func() time.Time
	torn string
	tree Tree
	wake chan struct{} // has room for one: there is something to write
	news chan struct{} // has room for one: what a gathering writer waits for may have come
	done chan struct{} // closed when the writer has ended

	mu       sync.Mutex
	queue    []waiter
	group    uint64    // that queue is
	since    time.Time // when it could have been written first
	urgent   bool      // somebody waits for an entry of it
	together int       // how many callers were here a moment ago
	crowd    int       // and how many at most, not long ago
	closed   bool
	broken   error // why the writer writes no more

	// Only the writer uses these.
	seq   uint64
	last  [32]byte
	size  int64
	text  bytes.Buffer // of one write, kept for its room
	spare []waiter     // the room of a queue that was written
}

// File is what the trail asks of its file.
type File interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

type waiter struct {
	entry audit.Entry
	at    time.Time
	done  chan error
}

// Torn names the file that [Open] moved a torn last line to, or is empty.
func (t *Trail) Torn() string { return t.torn }

// Record makes e durable. Entries that wait at the same time share one write
// and one sync. When ctx ends first, e may still be recorded.
func (t *Trail) Record(ctx context.Context, e audit.Entry) error {
	wait, err := t.Begin(ctx, e)
	if err != nil {
		return err
	}
	return wait()
}

// Begin is Record for callers who have something else to do until e is durable.
// In a crowd e is written when the first of its group is waited for, or after
// [lag].
func (t *Trail) Begin(ctx context.Context, e audit.Entry) (wait func() error, err error) {
	w := waiter{e, t.now(), make(chan error, 1)}
	group, ok := t.enqueue(w)
	if !ok {
		return nil, fmt.Errorf("%w: the audit trail is closed", ErrDown)
	}
	_, span := trace.Start(ctx, trace.Record)
	runtime.Gosched() // those who are as far begin theirs, before anyone does something else
	wait = func() error {
		select {
		case err := <-w.done:
			return err
		default:
			t.hurry(group)
		}
		select {
		case err := <-w.done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrDown, ctx.Err())
		}
	}
	if span.On() {
		return traced(span, wait), nil
	}
	return wait, nil
}

// traced ends span with wait.
func traced(span trace.Span, wait func() error) func() error {
	return func() error {
		err := wait()
		span.Done(err)
		return err
	}
}

// Health reports whether records can still be made.
func (t *Trail) Health(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return fmt.Errorf("%w: the audit trail is closed", ErrDown)
	case t.broken != nil:
		return t.broken
	}
	var gone, behind error
	if t.here != nil {
		gone = t.here()
	}
	if t.tree != nil {
		behind = t.tree.Health()
	}
	return errors.Join(gone, behind)
}

// Close writes what is waiting and closes the file.
func (t *Trail) Close() error {
	if !t.stop() {
		return nil
	}
	<-t.done
	return t.file.Close()
}

// commit makes entries durable. err says that these are not; broken says that
// no later one can be.
func (t *Trail) commit(ws []waiter) (err, broken error) {
	if t.here != nil {
		if err := t.here(); err != nil {
			return err, err
		}
	}
	b := &t.text
	b.Reset()
	seq, last := t.seq, t.last
	ends := make([]int, len(ws))
	for i, w := range ws {
		seq++
		begin := b.Len()
		newLine(seq, w.at, w.entry, last).printTo(b)
		ends[i] = b.Len()
		last = sha256.Sum256(b.Bytes()[begin : ends[i]-1])
	}
	if _, err := t.file.Write(b.Bytes()); err != nil {
		// A full disk takes part of a write. Without that part the file is as
		// it was, and the next try may find room.
		err = fmt.Errorf("%w: %w", ErrDown, err)
		if t.file.Truncate(t.size) != nil {
			return err, err
		}
		return err, nil
	}
	if err := t.file.Sync(); err != nil {
		// What of it is on the disk is unknown, and a second sync would not tell.
		err = fmt.Errorf("%w: %w", ErrDown, err)
		return err, err
	}
	t.seq, t.last, t.size = seq, last, t.size+int64(b.Len())
	if t.tree != nil {
		t.tree.Append(split(b.Bytes(), ends)) // which remembers its own failure
	}
	return nil, nil
}

// split returns the lines that end at ends, without their ends.
func split(text []byte, ends []int) [][]byte {
	lines, begin := make([][]byte, len(ends)), 0
	for i, end := range ends {
		lines[i], begin = text[begin:end-1], end
	}
	return lines
}
