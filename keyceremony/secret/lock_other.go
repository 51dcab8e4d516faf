//go:build !linux

package secret

// lockedPages refuses: a ceremony needs memory that can be locked.
func lockedPages(int) ([]byte, error) { return nil, ErrNotLocked }

func release(p []byte) { clear(p) }

// Harden cannot do anything here.
func Harden() (bool, error) { return false, ErrNotLocked }
