//go:build cgo

package hugepage

// #include "c_linux.h"
import "C"

import (
	"fmt"
	"syscall"
)

func inC() error {
	if e := C.hugepage_room(room); e != 0 {
		return fmt.Errorf("asking for large pages for C's heap: %w", syscall.Errno(e))
	}
	return nil
}

// Trim has C's allocator give memory that is free back to the system, which glibc does
// not do by itself. After [Use] it keeps it: what comes back piece by piece comes back in
// small pages.
func Trim() { C.hugepage_trim() }
