package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

// configName is the file that [app.init] makes first and names last: while it
// has not got its name, what is beside it is not finished.
const configName = "tapvault.yaml"

// unnamed is the configuration of an init that goes on, or was cut off.
var unnamed = regexp.MustCompile(`^tapvault\.yaml\.partial-[0-9]+$`)

// ofInit is whatever else an init that was cut off may have made.
var ofInit = regexp.MustCompile(`^(tls|secrets|clients|softhsm|ceremonies|tapvault\.db(-wal|-shm|-journal)?)$`)

// claim makes dir, or takes it when it holds nothing, or only what an init that
// was cut off left, which it removes. No other init takes it until release.
func claim(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := sweep(d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}

// sweep empties a folder, under a lock that ends when d is closed.
func sweep(d *os.File) error {
	err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return withHint(fmt.Errorf("%s is being made by another init", d.Name()), "wait for it, or name another folder")
	}
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err != nil {
		return err
	}
	if err := ours(d.Name(), entries); err != nil {
		return err
	}
	return errors.Join(empty(d.Name()), os.Chmod(d.Name(), 0o700))
}

// ours fails when a folder holds something that no init which was cut off made.
func ours(dir string, entries []fs.DirEntry) error {
	cutOff := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return unnamed.MatchString(e.Name()) })
	for _, e := range entries {
		switch n := e.Name(); {
		case !cutOff || n == configName:
			return withHint(fmt.Errorf("%s holds files already", dir), "name another folder: nothing is ever overwritten")
		case !unnamed.MatchString(n) && !ofInit.MatchString(n):
			return withHint(fmt.Errorf("%s holds what an init left that was cut off, and files already: %s is not of it", dir, n),
				"move it away and call init again, or name another folder")
		}
	}
	return nil
}

// empty removes what a folder holds: what an init left that failed or was cut
// off, and nothing else, since init begins in an empty one. The configuration
// without its name goes last: if this is cut off too, the next goes on.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return rank(a) - rank(b) })
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func rank(e fs.DirEntry) int {
	if unnamed.MatchString(e.Name()) {
		return 1
	}
	return 0
}
