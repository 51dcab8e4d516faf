package aside

import (
	"syscall"
	_ "unsafe" // for linkname
)

// The runtime leaves these two to others by name (go.dev/issue/67401): the first gives the
// processor away, the second waits for one. Between them nothing may need a stack or
// memory of Go's.
//
//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// call is [syscall.Syscall] for calls that wait.
//
//go:nosplit
//go:norace
func call(trap, a, b, c uintptr) (uintptr, syscall.Errno) {
	entersyscallblock()
	r, _, e := syscall.RawSyscall(trap, a, b, c)
	exitsyscall()
	return r, e
}
