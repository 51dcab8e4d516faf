//go:build linux

package console

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/keyceremony/engine"
)

// seat is a console at a terminal, and what the terminal shows.
type seat struct {
	*Console
	t     *testing.T
	hand  *os.File // types
	mu    sync.Mutex
	shown bytes.Buffer
}

func sit(t *testing.T) *seat {
	t.Helper()
	hand, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := &seat{Console: &Console{In: tty, Out: tty}, t: t, hand: hand}
	t.Cleanup(func() { s.Close(); _ = tty.Close(); _ = hand.Close() })
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 4096)
		for n, err := hand.Read(b); err == nil; n, err = hand.Read(b) {
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *seat) sees() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// until waits for what another part of the machine does.
func (s *seat) until(what string, done func() bool) {
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Errorf("%s never came; the terminal shows %q", what, s.sees())
			return
		}
	}
}

// types types when it is asked for.
func (s *seat) types(prompt, keys string) {
	go func() {
		s.until(prompt, func() bool { return strings.Contains(s.sees(), prompt) })
		if _, err := s.hand.WriteString(keys); err != nil {
			s.t.Error(err)
		}
	}()
}

// TestKeysOfSeveralBytes: an arrow, Delete or a function key adds nothing to a secret,
// though its bytes have digits in them; a backspace takes a whole letter.
func TestKeysOfSeveralBytes(t *testing.T) {
	for _, x := range []struct {
		keys, want string
		digits     bool
	}{
		{"1122\x1b[D33\x1b[1;5C44\x1bOA55\x1b[3~66\x1b[[E77\r", "11223344556677", true},
		{"pass\x1b[Dword\x1b[15~\r", "password", false},
		{"wört\x7f\x7f\x7fort\r", "wort", false},
		{"a\x1bb\r", "ab", false},
		{"ab\x1b[\r", "ab", false},
		{"a\xff\x7fb\r", "ab", false},
	} {
		s := sit(t)
		s.types("Type: ", x.keys)
		b, err := s.masked(t.Context(), "Type: ", x.digits)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.Bytes()); got != x.want {
			t.Errorf("%q became %q, and is %q", x.keys, got, x.want)
		}
		b.Wipe()
	}
}

// TestTypedAhead: what somebody types before they are asked is neither shown nor taken
// for an answer.
func TestTypedAhead(t *testing.T) {
	s := sit(t)
	if _, err := s.hand.WriteString("my passphrase\r"); err != nil {
		t.Fatal(err)
	}
	s.until("the line", func() bool {
		n, err := unix.IoctlGetInt(int(s.In.Fd()), unix.TIOCINQ)
		return err != nil || n == len("my passphrase\r")
	})
	s.types("Go on: ", "yes\r")
	answer, err := s.line(t.Context(), "Go on: ")
	if err != nil || answer != "yes" {
		t.Errorf("the answer is %q: %v", answer, err)
	}
	s.until("the answer", func() bool { return strings.Contains(s.sees(), "yes") })
	if strings.Contains(s.sees(), "passphrase") {
		t.Errorf("it is shown: %q", s.sees())
	}
}

// TestAbortEndsTheLine: what is said after Ctrl-C does not stand behind the prompt.
func TestAbortEndsTheLine(t *testing.T) {
	s := sit(t)
	s.types("Type: ", "12\x1b[\x03")
	if _, err := s.masked(t.Context(), "Type: ", true); !errors.Is(err, engine.ErrAborted) {
		t.Errorf("Ctrl-C: %v", err)
	}
	s.until("the end of the line", func() bool { return strings.HasSuffix(s.sees(), "\r\n") })
}

// TestCloseShowsAgain: the terminal is left as it was found.
func TestCloseShowsAgain(t *testing.T) {
	s := sit(t)
	echo := func() bool {
		x, err := unix.IoctlGetTermios(int(s.In.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return x.Lflag&unix.ECHO != 0
	}
	if echo() {
		t.Error("the terminal shows what is typed while nobody is asked")
	}
	if s.Close(); !echo() {
		t.Error("the terminal shows nothing after the ceremony")
	}
}

// TestToldToStop: a ceremony that is told to stop while somebody is asked ends, though
// nobody types anything.
func TestToldToStop(t *testing.T) {
	s := sit(t)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		s.until("the prompt", func() bool { return strings.Contains(s.sees(), "Go on: ") })
		stop()
		time.Sleep(10 * time.Second)
		_, _ = s.hand.WriteString("\r") // so that a test that fails ends
	}()
	if _, err := s.line(ctx, "Go on: "); !errors.Is(err, engine.ErrAborted) {
		t.Errorf("it went on: %v", err)
	}
}

// TestCloseDrops: what was typed and not asked for is not left to the shell.
func TestCloseDrops(t *testing.T) {
	s := sit(t)
	if _, err := s.hand.WriteString("my passphrase\r"); err != nil {
		t.Fatal(err)
	}
	waits := func() int {
		n, err := unix.IoctlGetInt(int(s.In.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.until("the line", func() bool { return waits() == len("my passphrase\r") })
	if s.Close(); waits() != 0 {
		t.Errorf("%d characters are left", waits())
	}
}

// TestUnfitTerminals: output that nobody sees and a terminal that is too small are refused
// before anybody is asked; one that does not know its size is taken.
func TestUnfitTerminals(t *testing.T) {
	hand, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	defer tty.Close()
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, x := range []struct {
		out           *os.File
		columns, rows uint16
		want          error
	}{{file, 80, 24, errBlind}, {tty, 79, 24, errSmall}, {tty, 80, 23, errSmall}, {tty, 80, 24, nil}, {tty, 0, 0, nil}} {
		if err := pty.Setsize(tty, &pty.Winsize{Cols: x.columns, Rows: x.rows}); err != nil {
			t.Fatal(err)
		}
		c := &Console{In: tty, Out: x.out}
		if err := c.Open(); !errors.Is(err, x.want) {
			t.Errorf("%s of %d by %d: %v", x.out.Name(), x.columns, x.rows, err)
		}
		c.Close()
	}
}
