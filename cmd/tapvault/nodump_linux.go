package main

import "golang.org/x/sys/unix"

// noCoreDumps keeps keys that pass through memory out of core files, and other
// processes of the same user from attaching.
func noCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// lockAll keeps the whole process, and what it will grow to, out of the swap.
func lockAll() error { return unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE) }
