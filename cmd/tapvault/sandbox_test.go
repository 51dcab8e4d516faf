//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/internal/freeport"
)

// probe is a program that tries to get at the memory of the process that its
// argument names, and prints what it was let do.
func probe() {
	pid, err := strconv.Atoi(os.Args[1])
	if err != nil {
		os.Exit(2)
	}
	for _, way := range []struct {
		name string
		try  func(pid int) error
	}{
		{"mem", func(pid int) error { return openFile(pid, "mem") }},
		{"environ", func(pid int) error { return openFile(pid, "environ") }},
		{"maps", func(pid int) error { return openFile(pid, "maps") }},
		{"attach", attach},
		{"vm_readv", readMemory},
	} {
		fmt.Printf("%s %v\n", way.name, way.try(pid) == nil)
	}
}

func openFile(pid int, name string) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		return err
	}
	return f.Close()
}

func attach(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return err
	}
	var status unix.WaitStatus
	_, _ = unix.Wait4(pid, &status, 0, nil)
	return unix.PtraceDetach(pid)
}

// readMemory asks for a byte of an address that is not there: who may ask is
// told that, and who may not, is told so.
func readMemory(pid int) error {
	b := make([]byte, 1)
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 8, Len: 1}}, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil
	}
	return err
}

// cage is a folder of a user without rights, in which programs run as that user.
type cage struct {
	dir  string
	cred *syscall.Credential // nil: the tests run without rights themselves
}

func newCage(t *testing.T) cage {
	t.Helper()
	dir, err := os.MkdirTemp("", "tapvault-cage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := cage{dir: dir}
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, uerr := strconv.ParseUint(nobody.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(nobody.Gid, 10, 32)
		if err := errors.Join(uerr, gerr, os.Chown(dir, int(uid), int(gid))); err != nil {
			t.Fatal(err)
		}
		c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tapvault", "probe"} { // as TestMain knows them
		copied(t, self, filepath.Join(dir, name))
	}
	return c
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func (c cage) command(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "TMPDIR=" + c.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (c cage) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := c.command(t, filepath.Join(c.dir, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// probed lists the ways that lead into a process.
func (c cage) probed(t *testing.T, pid int) (open []string) {
	t.Helper()
	out := c.run(t, "probe", strconv.Itoa(pid))
	for line := range strings.Lines(out) {
		if way, ok := strings.CutSuffix(strings.TrimSpace(line), " true"); ok {
			open = append(open, way)
		}
	}
	if strings.Count(out, "\n") != 5 {
		t.Fatalf("the probe says %q", out)
	}
	return open
}

// TestSandbox: another process of the user who runs the service gets at nothing
// in its memory, some of which is locked; and a crash leaves no core.
func TestSandbox(t *testing.T) {
	runtime.LockOSThread() // whose end would end the children
	defer runtime.UnlockOSThread()
	c := newCage(t)
	open := c.command(t, "sleep", "3600")
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	ways := c.probed(t, open.Process.Pid)
	if !slices.Contains(ways, "environ") { // what else is open is for the kernel's settings
		t.Errorf("the probe cannot look into any process, only %q", ways)
	}
	_ = open.Process.Kill()
	_ = open.Wait()

	at, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, "tapvault", "init", "r", "--listen", at)
	serve := c.command(t, filepath.Join(c.dir, "tapvault"), "serve", "--config", filepath.Join("r", "tapvault.yaml"))
	said, err := serve.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	allowCores(t)
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for listening := false; !listening; listening = strings.Contains(lines.Text(), "listening on") {
		if !lines.Scan() {
			t.Fatal("the service does not begin to listen")
		}
	}
	pid := serve.Process.Pid
	if ways := c.probed(t, pid); len(ways) != 0 {
		t.Errorf("into the memory of the service lead %q", ways)
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != 0 {
		t.Errorf("what /proc shows of the service belongs to user %d: it can be dumped", owner)
	}
	if n := status(t, pid, "VmLck"); n == 0 {
		t.Error("no memory of the service is locked")
	}
	t.Logf("locked: %d KiB, in memory: %d KiB, mapped: %d KiB", status(t, pid, "VmLck"), status(t, pid, "VmRSS"), status(t, pid, "VmSize"))
	crash(t, serve, lines)
	err = filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), "core") {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// crash has the service end as by a fault of its own.
func crash(t *testing.T, serve *exec.Cmd, said *bufio.Scanner) {
	t.Helper()
	if err := serve.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	for said.Scan() { // to its end
	}
	err := serve.Wait()
	if how, ok := serve.ProcessState.Sys().(syscall.WaitStatus); !ok || how.CoreDump() || serve.ProcessState.Success() {
		t.Errorf("the service ended as %v, %v", serve.ProcessState, err)
	}
}

// allowCores lets children leave cores if they do not forbid it themselves.
func allowCores(t *testing.T) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: was.Max, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_CORE, &was) })
}

// status reads a number of /proc/PID/status.
func status(t *testing.T, pid int, name string) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			if n, err = strconv.Atoi(strings.Fields(value)[0]); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("/proc says nothing of %s", name)
	return 0
}

func TestSwapIsFound(t *testing.T) {
	const head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for list, want := range map[string]string{"": stateOK, head: stateOK, head + "/dev/dm-1   partition\t8388604\t\t0\t\t-2\n": stateNote} {
		if got := swapFound(list); len(got) != 1 || got[0].State != want {
			t.Errorf("%q: %+v", list, got)
		}
	}
}

// TestUnlockedMemory: it is told of where memory may reach a disk, or nobody knows.
func TestUnlockedMemory(t *testing.T) {
	const none = "Filename\tType\tSize\tUsed\tPriority\n"
	for _, x := range []struct {
		swaps   string
		unknown error
		told    bool
	}{{none, nil, false}, {none + "/swap file 1 0 -2\n", nil, true}, {"", fs.ErrNotExist, true}} {
		if got := unlocked(syscall.ENOMEM, x.swaps, x.unknown); (got != "") != x.told {
			t.Errorf("%q, %v: %q", x.swaps, x.unknown, got)
		}
	}
}
