// Package secret holds key material of a ceremony in memory that is locked, kept out of core files, and wiped.
package secret

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// Buffer is secret bytes in pages of their own. It is not safe for concurrent
// use, and prints as nothing, also as a field that fmt may not ask: so the
// bytes stand behind a pointer.
type Buffer struct{ in *inside }

type inside struct {
	pages []byte
	n     int
}

// ErrNotLocked reports that the system refuses to lock memory.
var ErrNotLocked = errors.New("memory cannot be locked: raise the limit on locked memory (ulimit -l) and begin again")

// New returns n zero bytes.
func New(n int) (*Buffer, error) {
	size := os.Getpagesize()
	for size < n {
		size += os.Getpagesize()
	}
	p, err := lockedPages(size)
	if err != nil {
		return nil, err
	}
	b := &Buffer{&inside{p, n}}
	runtime.AddCleanup(b, func(p []byte) { release(p) }, p)
	return b, nil
}

// Of moves bytes into a buffer: what was given is wiped.
func Of(value []byte) (*Buffer, error) {
	defer clear(value)
	b, err := New(len(value))
	if err == nil {
		copy(b.Bytes(), value)
	}
	return b, err
}

// Bytes returns the secret itself; nobody keeps it. A wiped buffer has none.
func (b *Buffer) Bytes() []byte {
	if b == nil {
		return nil
	}
	return b.in.pages[:b.in.n:b.in.n]
}

// Wipe zeroes the secret for good. It may be called twice.
func (b *Buffer) Wipe() {
	if b != nil {
		clear(b.in.pages)
		b.in.n = 0
	}
}

// Format prints no secret, whatever the verb.
func (b *Buffer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "(secret)") }

// MarshalJSON refuses.
func (b *Buffer) MarshalJSON() ([]byte, error) { return nil, errors.New("a secret is not written") }
