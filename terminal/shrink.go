package terminal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// shrinkAt is how many bytes the file of a queue may have before it is written anew.
const shrinkAt = 256 << 10

// shrink forgets uploaded taps whose slots cannot be shown any more, on the disk and in
// memory, as [OpenQueue] does: a reader may run for months. It is called when the file has become
// large, and twice as large as it was afterwards the last time. Where it fails, the
// file just grows on. q.mu is held.
func (q *Queue) shrink() {
	if q.size <= max(shrinkAt, 2*q.least) {
		return
	}
	q.least = q.size
	done, left, err := q.reread()
	if err != nil || len(left) != len(q.taps) {
		return
	}
	keep := keepSeen(done, latest(done, left))
	err = rewrite(q.path, keep, left)
	if q.bad = q.open(); q.bad != nil || err != nil { // whichever file has the name now is whole, and is the one to go on with
		return
	}
	q.least = q.size
	q.seen = map[spent]bool{}
	for _, t := range slices.Concat(keep, left) {
		q.note(t)
	}
}

// errOther reports that somebody put another file in the queue's place.
var errOther = errors.New("terminal: another file has the name of the queue")

// reread reads the queue's own file.
func (q *Queue) reread() (done, left []Tap, err error) {
	own, err := q.f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if named, err := os.Stat(q.path); err != nil || !os.SameFile(own, named) {
		return nil, nil, errOther
	}
	b, err := os.ReadFile(q.path)
	if err != nil {
		return nil, nil, err
	}
	return parseQueue(b)
}

// open opens the file that has the queue's name, to go on with it.
func (q *Queue) open() error {
	f, err := os.OpenFile(q.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening queue: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("opening queue: %w", err)
	}
	if q.f != nil {
		_ = q.f.Close()
	}
	q.f, q.size = f, info.Size()
	return nil
}

// latest is a time that has come, whatever the zone of the clock by which the taps were made:
// a day before the last phone paid. A clock that is wrong takes no phone.
func latest(taps ...[]Tap) (at time.Time) {
	for _, t := range slices.Concat(taps...) {
		made, err := t.At.In(time.UTC)
		if err == nil && t.Phone && t.Fail == "" && made.After(at) {
			at = made
		}
	}
	return at.Add(-24 * time.Hour)
}
