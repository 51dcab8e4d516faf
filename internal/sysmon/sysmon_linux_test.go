package sysmon

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mayNot reports that this system, or the sandbox on it, does not let a process do
// it. Then nothing is to be changed.
func mayNot(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOSYS)
}

// One thread changes its policy, it is none that runs goroutines, and it still takes
// processors away from those who wait for the kernel.
func TestRest(t *testing.T) {
	want := 1
	if err := Rest(); mayNot(err) {
		t.Log(err)
		want = 0
	} else if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(tasks)
	if err != nil {
		t.Fatal(err)
	}
	var rest []int
	for _, x := range threads {
		tid, err := strconv.Atoi(x.Name())
		if err != nil {
			t.Fatal(err)
		}
		a, err := unix.SchedGetAttr(tid, 0)
		if err == nil && a.Policy == unix.SCHED_IDLE {
			rest = append(rest, tid)
		}
	}
	if len(rest) != want {
		t.Fatalf("threads %v have the policy, want %d", rest, want)
	}
	ran, read := make(chan int), make(chan error)
	for range 64 { // more than there are threads, so that each of them runs some
		go func() {
			for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
			}
			ran <- unix.Gettid()
		}()
	}
	for range 64 {
		if tid := <-ran; slices.Contains(rest, tid) {
			t.Fatal("a goroutine runs on the thread that has the policy")
		}
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	waiting := 4 * runtime.GOMAXPROCS(0)
	for range waiting {
		go func() {
			_, err := unix.Read(pipe[0], make([]byte, 1))
			read <- err
		}()
	}
	for range waiting {
		runtime.Gosched() // to one that waits, with the processor, until it is taken away
		if _, err := unix.Write(pipe[1], []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	for range waiting {
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	}
}
