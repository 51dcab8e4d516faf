package sysmon

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const tasks = "/proc/self/task"

// Rest gives the monitor the policy SCHED_IDLE, for good: where a processor is
// free it runs as soon as before, and where none is, other threads go first. The
// first call has to be made while the process may read what /proc says of it;
// others return what that one did. After an error nothing is changed.
var Rest = sync.OnceValue(func() error {
	tid, err := find()
	if err != nil {
		return err
	}
	if err := unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
		return fmt.Errorf("giving Go's monitor thread the policy SCHED_IDLE: %w", err)
	}
	return nil
})

// find returns the number of the monitor's thread. While somebody runs, as the
// caller does, it is the only thread that sleeps by the clock: all others wait for
// somebody to wake them.
func find() (tid int, err error) {
	seen := make(map[int]look)
	for n := range most {
		if err := lookAt(seen); err != nil {
			return 0, fmt.Errorf("looking for Go's monitor thread: %w", err)
		}
		if n < least {
			continue
		}
		if tid, err = pick(seen); err == nil {
			break
		}
	}
	return tid, err
}

// lookAt adds what every thread does now.
func lookAt(seen map[int]look) error {
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		call, err := os.ReadFile(tasks + "/" + t.Name() + "/syscall")
		if err != nil && tid == os.Getpid() { // the first thread is always there
			return err
		}
		if err != nil {
			continue // it has ended
		}
		l := seen[tid]
		switch nr, _, _ := strings.Cut(strings.TrimSpace(string(call)), " "); nr {
		case strconv.Itoa(unix.SYS_NANOSLEEP):
			l.asleep++
		case "running":
		default:
			l.engaged++
		}
		seen[tid] = l
	}
	return nil
}
