//go:build cgo

package sysmon

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const tasks = "/proc/self/task"

// Rest lets the monitor look less often, for good. inC is how many threads may be
// in C at once. The first call has to be made while the process may read what
// /proc says of it; others change nothing and return what that one did. After an
// error nothing is changed but that there are more threads.
func Rest(inC int) error {
	first.Do(func() { rested = rest(inC) })
	return rested
}

var (
	first  sync.Once
	rested error
)

func rest(inC int) error {
	if err := gather(spare + inC); err != nil {
		return fmt.Errorf("making threads: %w", err)
	}
	tid, err := find()
	if err != nil {
		return err
	}
	if inC < runtime.GOMAXPROCS(0) {
		if _, err := on(tid, unix.PR_SET_TIMERSLACK, uint64(late.Nanoseconds())); err != nil {
			return fmt.Errorf("telling Go's monitor thread that it may be late: %w", err)
		}
		return nil
	}
	if err := unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
		return fmt.Errorf("giving Go's monitor thread the policy SCHED_IDLE: %w", err)
	}
	return nil
}

// gather returns when there were so many threads at once; they stay.
func gather(n int) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	var readers sync.WaitGroup
	for range n { // each keeps a thread
		readers.Go(func() {
			for {
				if _, err := unix.Read(pipe[0], make([]byte, 1)); err != unix.EINTR {
					return
				}
			}
		})
	}
	err := grow(n)
	unix.Close(pipe[1])
	readers.Wait()
	unix.Close(pipe[0])
	return err
}

// grow waits until there are n threads.
func grow(n int) error {
	for {
		threads, err := os.ReadDir(tasks)
		if err != nil || len(threads) >= n {
			return err
		}
		runtime.Gosched() // to one that is to wait, until its processor is taken away
	}
}

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
