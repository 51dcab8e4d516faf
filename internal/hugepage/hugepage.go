// Package hugepage has the heaps of Go and of C lie in a few large pages of memory.
//
// A processor keeps the addresses of some pages at hand. A request over TLS touches more
// small ones than that, so that much of its time is spent on looking them up, most of
// all on a virtual machine, where each look goes through two tables. Of 2 MiB pages a
// heap needs a dozen.
package hugepage

import (
	"bytes"
	"errors"
	"os"
	"sync"
)

// room is how much of addresses each heap is given at once. What is not used of it
// takes no memory.
const room = 64 << 20

// ErrRefused is what [Use] gives where the kernel is set to grant no large pages.
var ErrRefused = errors.New("the kernel grants no large pages: transparent_hugepage is set to never")

// Use asks for large pages, early in the life of a process that is to serve. After an
// error everything works as before, in small ones. Only the first call does anything;
// others return what that one did.
func Use() error {
	first.Do(func() { used = errors.Join(refused(setting), inGo(), inC()) })
	return used
}

var (
	first sync.Once
	used  error
)

// setting is where Linux says, in brackets, whether it grants large pages. Where it
// cannot be read, they are asked for, and the kernel says.
const setting = "/sys/kernel/mm/transparent_hugepage/enabled"

func refused(setting string) error {
	if says, err := os.ReadFile(setting); err == nil && bytes.Contains(says, []byte("[never]")) {
		return ErrRefused
	}
	return nil
}
