// Package pcsctest runs the machine's own PC/SC programs for tests: the
// daemon with a virtual reader, and scriptor as a way to a card in it.
//
// Nothing of the machine is touched where that can be had: the daemon sees a
// folder of the test's own in place of /run, and its reader has a port of its
// own, so a daemon that the machine runs already is not disturbed.
package pcsctest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Reader is the name under which PC/SC programs find the card.
const Reader = "Virtual PCD 00 00"

// socketEnv says to PC/SC programs where their daemon listens.
const socketEnv = "PCSCLITE_CSOCK_NAME"

// Daemon is a PC/SC daemon with a virtual reader.
type Daemon struct {
	Addr string // where a card calls the reader's driver
	Env  string // NAME=value, for PC/SC programs
	dir  string
	cmd  *exec.Cmd
}

// Start runs a daemon that ends with the test.
func Start(t testing.TB) *Daemon {
	t.Helper()
	for _, program := range []string{"pcscd", "scriptor", "opensc-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("pcsctest: %v: `make setup-test` installs it", err)
		}
	}
	dir, err := os.MkdirTemp("", "pcsc-") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &Daemon{dir: dir}
	if err := d.configure(); err != nil {
		t.Fatalf("pcsctest: %v", err)
	}
	d.Run(t)
	return d
}

// configure writes what the daemon reads: one virtual reader on a free port.
func (d *Daemon) configure() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	d.Addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	driver, err := driver()
	if err != nil {
		return err
	}
	for _, sub := range []string{"conf", "run/pcscd"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("FRIENDLYNAME \"Virtual PCD\"\nDEVICENAME /dev/null:%d\nLIBPATH %s\nCHANNELID %d\n", port, driver, port)
	return os.WriteFile(filepath.Join(d.dir, "conf", "vpcd"), []byte(text), 0o644)
}

// driver finds the virtual reader's driver.
func driver() (string, error) {
	for _, pattern := range []string{"/usr/lib/pcsc/drivers/serial/libifdvpcd.so*", "/usr/lib*/pcsc/drivers/serial/libifdvpcd.so*",
		"/usr/lib/*/pcsc/drivers/serial/libifdvpcd.so*", "/usr/local/lib/pcsc/drivers/serial/libifdvpcd.so*"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", errors.New("the driver of the virtual reader is missing: `make setup-test` installs vsmartcard-vpcd")
}

// Run starts the daemon, again after [Daemon.Stop] if need be.
func (d *Daemon) Run(t testing.TB) {
	t.Helper()
	var tried []error
	for _, begin := range []func() (*exec.Cmd, string){d.apart("-m"), d.apart("-Urm"), d.plain} {
		cmd, socket := begin()
		if err := d.try(cmd, socket); err != nil {
			tried = append(tried, err)
			continue
		}
		t.Cleanup(d.Stop)
		return
	}
	t.Fatalf("pcsctest: the daemon does not start: %v", errors.Join(tried...))
}

// apart runs the daemon where /run is the test's own folder: as root, or as
// anybody who may have a user namespace.
func (d *Daemon) apart(flags string) func() (*exec.Cmd, string) {
	return func() (*exec.Cmd, string) {
		script := `mount --bind "$1/run" /run && exec pcscd -f -c "$1/conf"`
		return exec.Command("unshare", flags, "sh", "-c", script, "sh", d.dir), filepath.Join(d.dir, "run/pcscd/pcscd.comm")
	}
}

// plain runs the daemon where it always runs; root only.
func (d *Daemon) plain() (*exec.Cmd, string) {
	_ = os.MkdirAll("/run/pcscd", 0o755) // the daemon says so when it is missing
	return exec.Command("pcscd", "-f", "-c", filepath.Join(d.dir, "conf")), "/run/pcscd/pcscd.comm"
}

// try starts the daemon and waits until it answers with its reader.
func (d *Daemon) try(cmd *exec.Cmd, socket string) error {
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd, d.Env = cmd, socketEnv+"="+socket
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %s", filepath.Base(cmd.Path), strings.TrimSpace(said.String()))
		case <-time.After(100 * time.Millisecond):
		}
		if out, err := d.Command(context.Background(), "opensc-tool", "-l").CombinedOutput(); err == nil && strings.Contains(string(out), Reader) {
			return nil
		}
	}
	d.Stop()
	return errors.New("the virtual reader did not appear within 20 s")
}

// Command is a PC/SC program that will find this daemon.
func (d *Daemon) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), d.Env)
	return c
}

// AwaitCard waits until a card is in the reader.
func (d *Daemon) AwaitCard(t testing.TB) {
	t.Helper()
	var out []byte
	for range 150 {
		out, _ = d.Command(t.Context(), "opensc-tool", "-l").CombinedOutput()
		for line := range strings.SplitSeq(string(out), "\n") {
			if strings.Contains(line, Reader) && strings.Contains(line, "Yes") {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("pcsctest: no card came: %s", out)
}

// Stop ends the daemon. [Daemon.Run] begins it again.
func (d *Daemon) Stop() {
	if d.cmd == nil {
		return
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGTERM)
	for range 50 { // try has begun to wait for it
		if syscall.Kill(d.cmd.Process.Pid, 0) != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	d.cmd = nil
}
