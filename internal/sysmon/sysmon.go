// Package sysmon has Go's monitor thread look less often for threads that are in C.
//
// The monitor takes a processor of Go's away from a thread that is in C, so that
// other goroutines run meanwhile. To see that in time it looks every 20
// microseconds for as long as there is something to take. That is right where C
// waits, for a disk or a network, and wrong where C computes, as a software HSM
// does: then the machine's processors are busy, what is taken away is one thread
// more for them, and the looks themselves cost a tenth of what the service can do.
//
// So where Go has processors left beside those in C, the looks may be late.
// Where all may be in C, they come as soon as before, but only where one of the
// machine's processors is free.
package sysmon

import (
	"errors"
	"time"
)

// ErrUnknown is given where the monitor cannot be told from other threads.
var ErrUnknown = errors.New("the thread of Go's monitor was not found")

const (
	// late is by how much a look may be later than the 20 microseconds: it is then
	// made when the kernel is awake anyway. When there was nothing to take for long,
	// the monitor itself looks every 10 ms.
	late = 10 * time.Millisecond
	// spare is how many threads there are, beside those in C, before the monitor is
	// told anything. When all threads are busy it makes another, which inherits from
	// it, and which no unprivileged process could free of that again.
	spare = 32
)

// Threads are looked at so many times at least and at most. The monitor is seen to sleep
// by the clock so often at least, and not more often in any other call of the
// system, as it is when nobody has run for a while. In all other looks it waits
// for a processor, which it may on a busy machine.
const (
	least  = 24
	most   = 480
	asleep = 4
)

// look is what was seen of a thread.
type look struct{ asleep, engaged int }

// pick returns the one thread that was seen as the monitor is.
func pick(seen map[int]look) (tid int, err error) {
	for t, l := range seen {
		if l.asleep < asleep || l.engaged > l.asleep {
			continue
		}
		if tid != 0 {
			return 0, ErrUnknown
		}
		tid = t
	}
	if tid == 0 {
		return 0, ErrUnknown
	}
	return tid, nil
}
