//go:build linux

package main

import (
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

// TestSecondSignalAtPrompt: a program that is ended by a second signal while somebody types
// leaves a terminal that shows what is typed.
func TestSecondSignalAtPrompt(t *testing.T) {
	r := blank(t)
	file, plan := r.write("left", "generate", "site-a", "none", "keys: [{label: left.mtk.v1}]")
	c := r.running(file, plan)
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
	r.must(err)
	defer tty.Close()
	go io.Copy(io.Discard, tty) //nolint:errcheck // it ends with the program
	has := func(flags uint32) bool {
		now, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		r.must(err)
		return now.Lflag&flags != 0
	}
	for end := time.Now().Add(time.Minute); has(unix.ICANON); time.Sleep(10 * time.Millisecond) { // a prompt takes key by key
		if time.Now().After(end) {
			t.Fatal("there was no prompt")
		}
	}
	r.must(c.Process.Signal(syscall.SIGTERM))
	time.Sleep(silence)
	r.must(c.Process.Signal(syscall.SIGTERM))
	if err := c.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended by %v", err)
	}
	if !has(unix.ECHO) || !has(unix.ICANON) {
		t.Error("the terminal shows nothing of what is typed")
	}
}
