package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// lockedPages maps memory that is never swapped out and never dumped.
func lockedPages(n int) ([]byte, error) {
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("reserving memory: %w", err)
	}
	if err := unix.Mlock(p); err != nil {
		unix.Munmap(p)
		return nil, ErrNotLocked
	}
	if err := unix.Madvise(p, unix.MADV_DONTDUMP); err != nil {
		unix.Munmap(p)
		return nil, fmt.Errorf("keeping memory out of core files: %w", err)
	}
	return p, nil
}

func release(p []byte) {
	clear(p)
	unix.Munmap(p)
}

// Harden switches core files off for this process, keeps others of the same
// user from attaching to it, and locks all of its memory where the system lets
// it: all says whether it did. Buffers are locked in any case.
func Harden() (all bool, err error) {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return false, fmt.Errorf("switching core files off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return false, fmt.Errorf("switching core files off: %w", err)
	}
	return unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE) == nil, nil
}
