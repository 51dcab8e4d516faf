package trail

import (
	"errors"
	"os"
	"path/filepath"
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

// syncDir makes the name of a new file durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
