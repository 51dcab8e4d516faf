package trail

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lock keeps a second process from writing the same trail: two chains in one
// file would look like tampering. It waits for so long until the first has ended.
func lock(f *os.File, wait time.Duration) error {
	const look = 10 * time.Millisecond
	for until := time.Now().Add(wait); ; time.Sleep(look) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !time.Now().Before(until) {
			return errors.New("another process writes the audit trail")
		}
	}
}
