//go:build !linux

package aside

import "syscall"

// call is [syscall.Syscall], which keeps its processor for a while.
func call(trap, a, b, c uintptr) (uintptr, syscall.Errno) {
	r, _, e := syscall.Syscall(trap, a, b, c)
	return r, e
}
