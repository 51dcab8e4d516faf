package store

import (
	"fmt"
	"os"
)

// opened is which files a connection has, by path. It keeps all of them for as long as it
// is open.
type opened map[string]os.FileInfo

// look finds them once a connection that writes is open. One that reads may do without
// those beside the file, and others remove them.
func look(cfg Config) (opened, error) {
	files := []string{cfg.DSN}
	if !cfg.ReadOnly {
		files = append(files, SideFiles(cfg.DSN)...)
	}
	o := opened{}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, fileError(err)
		}
		o[f] = info
	}
	return o, nil
}

// present fails when one of them is not found again.
func (o opened) present() error {
	for path, was := range o {
		now, err := os.Stat(path)
		if err != nil || !os.SameFile(now, was) {
			return fmt.Errorf("%w: %s was removed or replaced while it was open", ErrUnavailable, path)
		}
	}
	return nil
}
