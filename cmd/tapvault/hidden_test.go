//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// typing runs a command at a terminal, and types when it is asked for something.
func (s *shop) typing(prompt, keys string, args ...string) (shown string, err error) {
	s.Helper()
	c := s.command(args...)
	tty, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		s.Fatal(err)
	}
	defer tty.Close()
	late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer late.Stop()
	var all bytes.Buffer
	typed := false
	for b := make([]byte, 4096); ; {
		n, rerr := tty.Read(b)
		if rerr != nil {
			break
		}
		all.Write(b[:n])
		if !typed && strings.Contains(all.String(), prompt) {
			typed = true
			for echo := true; echo; { // it is asked before the terminal is quiet
				now, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
				if err != nil {
					s.Fatal(err)
				}
				echo = now.Lflag&unix.ECHO != 0
			}
			if _, err := tty.WriteString(keys); err != nil {
				s.Fatal(err)
			}
		}
	}
	err = c.Wait()
	now, terr := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if terr != nil || now.Lflag&unix.ECHO == 0 {
		s.Errorf("the terminal shows nothing of what is typed: %v", terr)
	}
	return all.String(), err
}

// TestTypedKeyIsNotShown: a key that is typed is asked for and not shown, and Ctrl-C
// leaves a terminal that shows what is typed.
func TestTypedKeyIsNotShown(t *testing.T) {
	const key, prompt = "3F3F3F3F3F3F3F3F1122334455667788", "(it is not shown): "
	s := newShop(t)
	shown, err := s.typing(prompt, key+"\r", "keys", "import", "--realm", "lab", "--usage", "mlk")
	if err != nil || !strings.Contains(shown, prompt) || !strings.Contains(shown, "imported lab.mlk.v1") || strings.Contains(shown, key[:8]) {
		t.Errorf("%v\n%s", err, shown)
	}
	shown, err = s.typing(prompt, key[:8]+"\x03", "keys", "import", "--realm", "lab", "--usage", "dtk")
	if err == nil || !strings.Contains(shown, "it was interrupted") || strings.Contains(shown, key[:8]) {
		t.Errorf("Ctrl-C: %v\n%s", err, shown)
	}
}
