package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SideFiles are what SQLite keeps beside a file: what was committed and is not in it
// yet, and an index of that.
func SideFiles(path string) []string { return []string{path + "-wal", path + "-shm"} }

// fileWritable says which of a database's files this user may not write. Somebody
// else's may be left beside one's own, of which SQLite says no more than that it
// cannot be opened. It opens none: a file that is closed takes the locks of its
// whole process with it.
func fileWritable(path string) error {
	files := []string{path}
	for _, side := range SideFiles(path) {
		if err := allowed(side, unix.F_OK); errors.Is(err, fs.ErrNotExist) {
			side = filepath.Dir(path) // where it is to be made
		}
		files = append(files, side)
	}
	for _, f := range files {
		if err := allowed(f, unix.W_OK); err != nil {
			return fileError(err)
		}
	}
	return nil
}

func allowed(path string, mode uint32) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "access", Path: path, Err: err}
	}
	return nil
}

// Sound reads all of a file and says when it is damaged, as by a back-up that was put
// in the place of another beside whose -wal was left: SQLite then brings the pages of
// one into the other. A server looks after its own.
func (d *DB) Sound(ctx context.Context) error {
	if _, ok := d.engine.(*sqliteEngine); !ok {
		return nil
	}
	var said string
	if err := d.Read(ctx).Raw("PRAGMA quick_check(1)").Scan(&said).Error; err != nil {
		return fmt.Errorf("reading all of the database: %w", err)
	}
	if said != "ok" {
		return fmt.Errorf("%w%s", ErrUnavailable, damaged)
	}
	return nil
}

// damaged is said of a file that is no database any more.
const damaged = ": the file is damaged; put a back-up in its place, and first move away what begins with its name (-wal, -shm)"
