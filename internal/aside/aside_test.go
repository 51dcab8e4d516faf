package aside

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	stdsync "sync"
	"syscall"
	"testing"
	"unsafe"
)

func TestSync(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "record"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("a line\n"); err != nil {
		t.Fatal(err)
	}
	if err := Sync(f); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Sync(f); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := Sync(w); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a pipe: %v", err)
	}
}

// Goroutines that wait in the kernel leave the rest of the program as it is: stacks grow
// and move, memory is collected, and one processor is enough for many of them.
func TestCall(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const waiting = 20
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	var all stdsync.WaitGroup
	sums := make([]int, waiting)
	for i := range waiting {
		all.Go(func() {
			for range 50 {
				sums[i] += deep(t, 100, func() {
					if n, e := read(fds[0]); n != 1 || e != 0 {
						t.Errorf("%d bytes, %v", n, e)
					}
				})
			}
		})
	}
	for n := range waiting * 50 {
		if n%100 == 0 {
			runtime.GC()
		}
		if _, err := syscall.Write(fds[1], []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	for i, sum := range sums {
		if want := 50 * 100 * 101 / 2; sum != want {
			t.Errorf("goroutine %d came to %d, want %d", i, sum, want)
		}
	}
}

var byteRead [1]byte // not on a stack, which may move

// deep adds up the numbers to n, each in a frame of its own, and does what at the bottom.
func deep(t *testing.T, n int, what func()) int {
	if n == 0 {
		what()
		return 0
	}
	var frame [256]byte
	frame[n%len(frame)] = byte(n)
	return deep(t, n-1, what) + int(frame[n%len(frame)])
}

// read reads a byte, and again where a signal came between.
func read(fd int) (uintptr, syscall.Errno) {
	for {
		n, e := call(syscall.SYS_READ, uintptr(fd), address(), 1)
		if e != syscall.EINTR {
			return n, e
		}
	}
}

func address() uintptr { return uintptr(unsafe.Pointer(&byteRead)) }
