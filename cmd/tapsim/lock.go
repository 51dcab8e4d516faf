package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tapvault/tapvault/internal/cli"
)

// take keeps other runs from a folder until leave is called or the process ends. The lock
// is a file beside it: the folder itself is removed and made anew.
func take(dir string) (leave func(), err error) {
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("locking the folder of --dir: %w", err)
	}
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of --dir: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = cli.Misusef("reading flags: another run uses %s: name another folder with --dir, or wait for it", dir)
	} else if err != nil {
		err = fmt.Errorf("locking the folder of --dir: %w", err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
