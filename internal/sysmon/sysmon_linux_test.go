//go:build cgo

package sysmon

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mayNot reports that this system, or the sandbox on it, does not let a process do
// it. Then nothing is to be changed.
func mayNot(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOSYS)
}

// inChild names the variable by which a test has itself run in a process of its own:
// a monitor that was told something is not as it was.
const inChild = "SYSMON_TEST"

// child runs the calling test once more, and reports whether this is that process.
func child(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inChild) != "" {
		runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inChild+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func TestRestIsLate(t *testing.T) {
	if child(t) {
		rests(t, 1, isLate)
	}
}

func TestRestGivesWay(t *testing.T) {
	if child(t) {
		rests(t, runtime.GOMAXPROCS(0), givesWay)
	}
}

// rests fails unless one thread is changed, it is none that runs goroutines, those that are
// needed later are not, and the monitor still takes processors away from those who
// wait for the kernel.
func rests(t *testing.T, inC int, changed func(t *testing.T, tid int) bool) {
	t.Helper()
	want := 1
	if err := Rest(inC); mayNot(err) {
		t.Log(err)
		want = 0
	} else if err != nil {
		t.Fatal(err)
	}
	rest := threads(t, changed)
	if len(rest) != want {
		t.Fatalf("threads %v are changed, want %d", rest, want)
	}
	for _, tid := range running() {
		if slices.Contains(rest, tid) {
			t.Fatal("a goroutine runs on the thread that is changed")
		}
	}
	wait(t, spare-8) // fewer than there are threads
	if now := threads(t, changed); !slices.Equal(now, rest) {
		t.Fatalf("threads %v are changed when many were needed, want %v", now, rest)
	}
}

// Whoever comes second changes nothing.
func TestRestOnce(t *testing.T) {
	if !child(t) {
		return
	}
	for _, inC := range []int{1, runtime.GOMAXPROCS(0)} {
		if err := Rest(inC); err != nil && !mayNot(err) {
			t.Fatal(err)
		}
	}
	if changed := threads(t, givesWay); len(changed) != 0 {
		t.Errorf("a later call changed threads %v", changed)
	}
}

func TestOn(t *testing.T) {
	if _, err := on(1<<22+1, unix.PR_GET_TIMERSLACK, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("a thread that is not there: %v", err)
	}
	if _, err := on(unix.Gettid(), -1, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an option that is none: %v", err)
	}
}

func isLate(t *testing.T, tid int) bool {
	t.Helper()
	ns, err := on(tid, unix.PR_GET_TIMERSLACK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ns == int(late.Nanoseconds())
}

func givesWay(t *testing.T, tid int) bool {
	t.Helper()
	a, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a.Policy == unix.SCHED_IDLE
}

// threads lists those of which something is so, and which do not end meanwhile.
func threads(t *testing.T, so func(t *testing.T, tid int) bool) (all []int) {
	t.Helper()
	list, err := os.ReadDir(tasks)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		tid, err := strconv.Atoi(x.Name())
		if err != nil {
			t.Fatal(err)
		}
		if so(t, tid) {
			all = append(all, tid)
		}
	}
	return all
}

// running lists threads that run goroutines.
func running() (all []int) {
	ran := make(chan int)
	for range 64 { // more than there are threads, so that each of them runs some
		go func() {
			for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
			}
			ran <- unix.Gettid()
		}()
	}
	for range 64 {
		all = append(all, <-ran)
	}
	return all
}

// wait has so many goroutines wait for the kernel at once, each with a processor until
// it is taken away.
func wait(t *testing.T, n int) {
	t.Helper()
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	read := make(chan error)
	var begun atomic.Int32
	for range n {
		go func() {
			begun.Add(1)
			_, err := unix.Read(pipe[0], make([]byte, 1))
			read <- err
		}()
	}
	for begun.Load() < int32(n) {
		runtime.Gosched() // to one that waits
	}
	for range n {
		if _, err := unix.Write(pipe[1], []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	}
}
