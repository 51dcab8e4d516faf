package trail

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps a second process from writing the same trail: two chains in one
// file would look like tampering.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another process writes the audit trail")
	}
	return err
}
