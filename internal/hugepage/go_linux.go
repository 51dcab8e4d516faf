package hugepage

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arena is by how much Go reserves addresses, and to what it aligns them.
const arena = 64 << 20

// inGo has Go map the addresses of a large heap, asks for large pages there, and
// leaves them to the heap.
func inGo() error {
	early := whole(new([1 << 10]byte))
	all := make([]byte, room)
	err := errors.Join(advise(early, arena), advise(whole((*[1 << 10]byte)(all)), room+arena))
	runtime.KeepAlive(all)
	runtime.GC() // or the next collection would count it as something that lives
	if err != nil {
		return fmt.Errorf("asking for large pages for Go's heap: %w", err)
	}
	return nil
}

// whole returns where the arena begins in which p lies.
func whole(p *[1 << 10]byte) uintptr { return address(p) &^ (arena - 1) }

func address(p *[1 << 10]byte) uintptr { return uintptr(unsafe.Pointer(p)) }

// advise asks for large pages. Where nothing is mapped there is nothing to ask for.
func advise(from, n uintptr) error {
	_, _, e := syscall.Syscall(syscall.SYS_MADVISE, from, n, unix.MADV_HUGEPAGE)
	if e == 0 || e == syscall.ENOMEM {
		return nil
	}
	return e
}
