// Package aside has the kernel do what takes long without a processor of Go's being
// held meanwhile.
//
// A goroutine that calls the kernel keeps its processor of Go's until the monitor
// thread takes it away, which looks rarely here (package sysmon). A read of a socket is
// over by then; a sync waits for a disk, and goroutines that could run wait with it.
package aside

import (
	"io/fs"
	"os"
	"syscall"
)

// Sync is f.Sync.
func Sync(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed syscall.Errno
	if c.Control(func(fd uintptr) { failed = sync(fd) }) != nil { // there is no other reason
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: fs.ErrClosed}
	}
	if failed != 0 {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: failed}
	}
	return nil
}

func sync(fd uintptr) syscall.Errno {
	for {
		if _, e := call(syscall.SYS_FSYNC, fd, 0, 0); e != syscall.EINTR {
			return e
		}
	}
}
