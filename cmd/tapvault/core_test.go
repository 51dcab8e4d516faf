//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCommandsLeaveNoCore: a command that crashes leaves no core, from before it
// reads its first file. Each is caught while it waits for one.
func TestCommandsLeaveNoCore(t *testing.T) {
	allowCores(t)
	for _, args := range []string{
		"keys list", "keys import --realm lab --usage mpk", "keys generate --usage pan-seal --version 2",
		"keys retire --usage pan-seal --version 1", "doctor", "check-config", "migrate", "client list",
		"client token --id issuer", "rewrap", "approvals list --id operator", "audit export",
		"export --file f --passphrase-file p", "import --file f --passphrase-file p",
	} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			config := filepath.Join(dir, "waits")
			if err := unix.Mkfifo(config, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "p"), []byte(shopPassphrase), 0o600); err != nil {
				t.Fatal(err)
			}
			c := exec.CommandContext(t.Context(), "tapvault", append(strings.Fields(args), "--config", config)...)
			c.Dir, c.Env = dir, append(os.Environ(), "GOTRACEBACK=crash")
			said := &strings.Builder{}
			c.Stderr = said
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Wait() }()
			reads := make(chan *os.File, 1)
			go func() {
				w, _ := os.OpenFile(config, os.O_WRONLY, 0) // waits for somebody who reads
				reads <- w
			}()
			select {
			case err := <-ended:
				t.Fatalf("it ended before: %v\n%s", err, said)
			case w := <-reads:
				defer w.Close()
			}
			_ = c.Process.Signal(syscall.SIGABRT)
			<-ended
			left, err := filepath.Glob(filepath.Join(dir, "core*"))
			if how := c.ProcessState.Sys().(syscall.WaitStatus); !how.Signaled() || how.CoreDump() || len(left) > 0 || err != nil {
				t.Errorf("it ended as %v, and left %q, %v", c.ProcessState, left, err)
			}
		})
	}
}
