package terminal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tapvault/tapvault/internal/durable"
)

// MaxBatch is how many taps one upload holds at most.
const MaxBatch = 500

// Uploader hands taps to the clearing house.
type Uploader interface {
	// Upload returns one receipt for each tap, in order, once the taps are
	// durable on the other side. Taps may come again: the other side tells a
	// duplicate from a second use. It tells the other side that a tap which is
	// [Deferred] is kept.
	Upload(ctx context.Context, terminal [6]byte, taps []Tap) ([]Receipt, error)
}

// Receipt is what became of one tap. A tap that was rejected is done with as
// well: uploading it again would not change the answer. One that is [Deferred] is not.
type Receipt struct{ TapID, Outcome, Reason string }

// Deferred is the outcome of a tap that could not be judged, because something that is stored
// for it on the other side cannot be read. It is kept and sent again later; what waits behind
// it is sent meanwhile.
const Deferred = "DEFERRED"

// A tap that was deferred waits for deferFirst, and each time twice as long up to deferMost.
const (
	deferFirst = time.Minute
	deferMost  = time.Hour
)

// waiting is a tap that was not uploaded yet.
type waiting struct {
	Tap
	wait time.Duration // after it was deferred last; 0: it never was, as far as this process knows
	due  time.Time     // it is not sent again before
}

// Queue keeps accepted taps, and the evidence of failed ones, until they are
// uploaded, and remembers the slots that paid here. It is a file of one JSON object a line, flushed to the disk
// at each line, and written anew when most of it is over. It is safe for concurrent use by one process.
type Queue struct {
	mu    sync.Mutex
	path  string
	f     *os.File
	size  int64 // of the file
	least int64 // size when everything that can be forgotten was, see shrink
	taps  []waiting
	seen  map[spent]bool
	send  sync.Mutex // one upload at a time
	bad   error      // the file could not be written and may hold half a line
}

// OpenQueue opens the queue in the file path and makes it if there is none. A
// last line that was cut short is dropped: its tap was refused. Uploaded taps
// whose slots ended before now are forgotten.
func OpenQueue(path string, now time.Time) (*Queue, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading queue: %w", err)
	}
	done, left, err := parseQueue(b)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil { // it is opened again, from wherever this process is then
		return nil, fmt.Errorf("opening queue: %w", err)
	}
	q := &Queue{path: path, seen: map[spent]bool{}}
	for _, t := range left {
		q.taps = append(q.taps, waiting{Tap: t})
	}
	keep := keepSeen(done, now)
	for _, t := range slices.Concat(keep, left) {
		q.note(t)
	}
	if err := rewrite(path, keep, left); err != nil {
		return nil, err
	}
	if err := q.open(); err != nil {
		return nil, err
	}
	q.least = q.size
	return q, nil
}

// keepSeen returns the phone taps whose slots could still be shown again.
func keepSeen(taps []Tap, now time.Time) (keep []Tap) {
	for _, t := range taps {
		if t.Phone && t.Fail == "" && now.Before(t.UD.Expires().Add(24*time.Hour)) {
			keep = append(keep, t)
		}
	}
	return keep
}

// Add makes t durable. When it fails, t may come back after a restart, but the
// rider was refused: clearing decides from what card and phone report.
func (q *Queue) Add(t Tap) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := toRow(t)
	if err := q.write(line{Tap: &r}); err != nil {
		return err
	}
	q.taps = append(q.taps, waiting{Tap: t})
	q.note(t)
	return nil
}

// note remembers the slot of a tap that paid. One that failed proves nothing:
// what a phone shows is public, and a stranger who shows it must not keep its
// owner out.
func (q *Queue) note(t Tap) {
	if t.Fail == "" {
		q.seen[t.slot()] = true
	}
}

// broken returns why nothing can be added any more, or nil.
func (q *Queue) broken() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bad
}

// Seen reports whether the slot paid here before.
func (q *Queue) Seen(asn [10]byte, ctr uint16) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.seen[spent{asn, ctr}]
}

// Pending is how many taps wait for upload, those that were deferred among them.
func (q *Queue) Pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.taps)
}

// Flush uploads everything that waits, in batches. A failed batch stays, with
// what follows it, for the next call: every tap arrives at least once. A tap that is
// [Deferred] stays by itself, and calls within the next minute, later the next hour, leave it out.
func (q *Queue) Flush(ctx context.Context, terminal [6]byte, u Uploader) ([]Receipt, error) {
	q.send.Lock()
	defer q.send.Unlock()
	var all []Receipt
	began := time.Now()
	for {
		batch, at := q.batch(began)
		if len(batch) == 0 {
			return all, nil
		}
		got, err := u.Upload(ctx, terminal, batch)
		if err == nil && len(got) != len(batch) {
			err = errors.New("receipts and taps differ in number")
		}
		if err != nil {
			return all, fmt.Errorf("uploading taps: %w", err)
		}
		all = append(all, got...)
		if err := q.done(at, got); err != nil {
			return all, err
		}
	}
}

// Run flushes every interval until ctx ends, and waits twice as long after
// each failure, up to 16 intervals. report hears what each flush did.
func (q *Queue) Run(ctx context.Context, terminal [6]byte, u Uploader, interval time.Duration, report func([]Receipt, error)) {
	wait := interval
	for {
		got, err := q.Flush(ctx, terminal, u)
		report(got, err)
		if wait = interval; err != nil {
			wait = min(2*wait, 16*interval)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// batch returns the first taps that are due, and where they stand.
func (q *Queue) batch(now time.Time) (taps []Tap, at []int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range q.taps {
		if len(taps) < MaxBatch && !t.due.After(now) {
			taps, at = append(taps, t.Tap), append(at, i)
		}
	}
	return taps, at
}

// done forgets the taps that stand at those places but for those that are deferred.
func (q *Queue) done(at []int, got []Receipt) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	gone := make(map[int]bool, len(at))
	var l line
	for i, place := range at {
		if got[i].Outcome != Deferred {
			gone[place], l.Done = true, place+1
		}
	}
	for i := range l.Done {
		if !gone[i] {
			l.But = append(l.But, i)
		}
	}
	if l.Done > 0 {
		if err := q.write(l); err != nil {
			return err
		}
	}
	for i, place := range at {
		if got[i].Outcome == Deferred {
			q.taps[place].later()
		}
	}
	var stay []waiting
	for _, i := range l.But {
		stay = append(stay, q.taps[i])
	}
	q.taps = append(stay, q.taps[l.Done:]...)
	q.shrink()
	return nil
}

// later puts off a tap that was deferred.
func (t *waiting) later() {
	t.wait = min(max(deferFirst, 2*t.wait), deferMost)
	t.due = time.Now().Add(t.wait)
}

// write appends one line. After a failure nothing more is written: a half line
// in the middle would hide those after it.
func (q *Queue) write(l line) error {
	if q.bad != nil {
		return fmt.Errorf("writing queue: an earlier write failed: %w", q.bad)
	}
	b, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("writing queue: %w", err)
	}
	n, err := q.f.Write(append(b, '\n'))
	q.size += int64(n)
	if q.bad = err; err == nil {
		q.bad = q.f.Sync()
	}
	if q.bad != nil {
		return fmt.Errorf("writing queue: %w", q.bad)
	}
	return nil
}

// Close closes the file.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.f.Close()
}

// rewrite replaces the file by one that holds what is still needed.
func rewrite(path string, uploaded, left []Tap) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, t := range slices.Concat(uploaded, left) {
		r := toRow(t)
		if err := enc.Encode(line{Tap: &r}); err != nil {
			return fmt.Errorf("writing queue: %w", err)
		}
	}
	if len(uploaded) > 0 {
		if err := enc.Encode(line{Done: len(uploaded)}); err != nil {
			return fmt.Errorf("writing queue: %w", err)
		}
	}
	if err := durable.Replace(path, b.Bytes()); err != nil {
		return fmt.Errorf("writing queue: %w", err)
	}
	return nil
}
