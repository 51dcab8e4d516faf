package main

import "golang.org/x/sys/unix"

// unsynchronised reports whether the kernel says that nothing sets its clock.
func unsynchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state == unix.TIME_ERROR
}
