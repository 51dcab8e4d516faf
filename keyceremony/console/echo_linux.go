package console

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// quiet lets the terminal show nothing that is typed while nobody is asked, and
// returns how to undo that. Ctrl-C works as before.
func quiet(fd int) (undo func(), err error) {
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	silent := *old
	silent.Lflag &^= unix.ECHO | unix.ECHONL
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &silent); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }, nil
}

// drop forgets what was typed and not read.
func drop(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }

// typed waits until something was typed, or the terminal has gone, but not for ever.
func typed(fd int, most time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor fits
	n, err := unix.Poll(fds, int(most.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}
