//go:build linux

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/hsm/hsmtest/shim"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// TestModuleHangs: a ceremony whose HSM does not answer is ended by a second Ctrl-C, says so
// after the first, and goes on when it is resumed.
func TestModuleHangs(t *testing.T) {
	r := blank(t)
	module, err := softtoken.Find("softhsm")
	r.must(err)
	path, err := module.Path()
	r.must(err)
	dir := filepath.Join(r.dir, "shim")
	r.must(os.Mkdir(dir, 0o700))
	hung, err := shim.Build(dir, path)
	r.must(err)
	file, plan := r.write("hung", "generate", "site-a", "none", "keys: [{label: hung.mtk.v1}]")
	hung.Hang(shim.GenerateKey)
	var ended atomic.Bool
	go func() {
		for ; hung.Calls(shim.GenerateKey) == 0; time.Sleep(10 * time.Millisecond) {
			if ended.Load() {
				return
			}
		}
		program := r.program.Load()
		_ = program.Signal(os.Interrupt)
		time.Sleep(silence + time.Second)
		_ = program.Signal(os.Interrupt)
		for end := time.Now().Add(30 * time.Second); !ended.Load() && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
		if !ended.Load() {
			_ = program.Kill()
		}
	}()
	r.after = func(tty *os.File) {
		if terminal(t, tty)&unix.ECHO == 0 {
			t.Error("the terminal shows nothing of what is typed")
		}
	}
	err = r.hold(file, plan, "--module", hung.Module)
	ended.Store(true)
	if err == nil || !strings.Contains(err.Error(), "signal: interrupt") || !strings.Contains(err.Error(), "Ctrl-C ends it now") {
		t.Errorf("the second signal: %v", err)
	}
	hung.Heal()
	r.must(r.hold(file, plan, "--module", hung.Module, "--resume"))
	if s := r.story("hung"); check(s, "hung.mtk.v1") == "" {
		t.Error("no key was made")
	}
}

// TestStopsAtPrompt: a program that is told to stop while somebody is asked ends at once,
// says how to go on, and leaves a terminal that shows what is typed. Ctrl-\ shows no stacks.
func TestStopsAtPrompt(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"term": syscall.SIGTERM, "quit": syscall.SIGQUIT} {
		r := blank(t)
		file, plan := r.write(name, "generate", "site-a", "none", "keys: [{label: left.mtk.v1}]")
		c := r.running(file, plan)
		tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
		r.must(err)
		defer tty.Close()
		var shown bytes.Buffer
		read := make(chan struct{})
		go func() { _, _ = io.Copy(&shown, tty); close(read) }()                                                       // it ends with the program
		for end := time.Now().Add(time.Minute); terminal(t, tty)&unix.ICANON != 0; time.Sleep(10 * time.Millisecond) { // a prompt takes key by key
			if time.Now().After(end) {
				t.Fatal("there was no prompt")
			}
		}
		r.must(c.Process.Signal(sig))
		late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
		err = c.Wait()
		late.Stop()
		<-read
		said := shown.String()
		if err == nil || err.Error() != "exit status 1" || !strings.Contains(said, "--resume") || strings.Contains(said, "goroutine") || strings.Contains(said, "as soon as the HSM") {
			t.Errorf("%s: %v, %s", name, err, tail(shown.Bytes()))
		}
		if shows := uint32(unix.ECHO | unix.ICANON); terminal(t, tty)&shows != shows {
			t.Error("the terminal shows nothing of what is typed")
		}
	}
}

// TestRehearsalStops: Ctrl-C stops a rehearsal that waits for Enter.
func TestRehearsalStops(t *testing.T) {
	r := &room{t: t, dir: t.TempDir()}
	c := r.command("rehearse", "../../keyceremony/scripts/import-components.yaml", "--out", r.out("r"))
	r.must(os.Mkdir(filepath.Join(r.dir, "out"), 0o700))
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
	r.must(err)
	defer tty.Close()
	late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer late.Stop()
	var shown bytes.Buffer
	b, asked := make([]byte, 4096), false
	for {
		n, err := tty.Read(b)
		if err != nil {
			break
		}
		shown.Write(b[:n])
		if !asked && strings.HasSuffix(shown.String(), "or abort: ") {
			asked = true
			_, err = tty.WriteString("\x03")
			r.must(err)
		}
	}
	if err := c.Wait(); !asked || err == nil || err.Error() != "exit status 1" || strings.Contains(shown.String(), "as soon as the HSM") || !strings.Contains(shown.String(), "aborted") {
		t.Errorf("%v\n%s", err, shown.String())
	}
}

// terminal is how a terminal deals with what is typed.
func terminal(t *testing.T, tty *os.File) uint32 {
	t.Helper()
	now, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return now.Lflag
}
