// Package durable makes files that are there whole or not at all, also after the
// program was killed or the power was cut.
//
// A file whose presence means something (an export, a key, a letter, a
// configuration) is written beside its place, under a name that nobody takes for
// it, and reaches the disk before it gets its own name. What was cut off stays
// under the other name, which ends in ".partial-" and digits, and may be removed.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a new file that has not got its name yet. Like every file it is to be
// closed: by [File.Commit], or by [File.Discard].
type File struct {
	*os.File
	name string
}

// Create begins a file that shall be called name, and that only its owner may
// read. The error is of [fs.ErrExist] when there is one already.
func Create(name string) (*File, error) {
	if _, err := os.Lstat(name); err == nil {
		return nil, exists(name)
	}
	f, err := begin(name)
	if err != nil {
		return nil, err
	}
	return &File{f, name}, nil
}

func exists(name string) error { return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist} }

// begin makes the file under its other name. Errors tell the name that it shall have.
func begin(name string) (*os.File, error) {
	dir, base := filepath.Split(name)
	f, err := os.CreateTemp(filepath.Clean(dir), base+".partial-*") // O_EXCL, 0600
	if at := new(fs.PathError); errors.As(err, &at) {
		return nil, &fs.PathError{Op: at.Op, Path: name, Err: at.Err}
	}
	return f, err
}

// Commit gives the file its name, unless another has it meanwhile (an error of
// [fs.ErrExist]). When it returns nil, the file is on the disk under that name;
// when it fails, there is no file of it, or, if only its folder could not be made
// durable, the whole file.
func (f *File) Commit() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := rename(f.Name(), f.name); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = exists(f.name)
		}
		return errors.Join(err, os.Remove(f.Name()))
	}
	return Folder(filepath.Dir(f.name))
}

// Discard removes a file that is not to be.
func (f *File) Discard() error { return errors.Join(f.Close(), os.Remove(f.Name())) }

// Write makes a new file with these bytes.
func Write(name string, data []byte) error {
	f, err := Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Discard())
	}
	return f.Commit()
}

// Replace makes a file with these bytes, in the place of one that may be there:
// whoever reads name finds the old bytes or the new ones.
func Replace(name string, data []byte) error {
	f, err := begin(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return Folder(filepath.Dir(name))
}

// Folder makes the names of a folder durable.
func Folder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// link is a rename that never replaces, where the system has no other: for a
// moment the file has two names.
func link(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}
