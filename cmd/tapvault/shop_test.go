package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapvault/tapvault/internal/freeport"
)

const shopPassphrase = "a passphrase of sixteen or more"

// shop is a rehearsal in a folder of its own, on which the real program runs.
type shop struct {
	*testing.T
	dir, addr string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{T: t, dir: filepath.Join(t.TempDir(), "r"), addr: addr}
	s.ok("init", s.dir, "--listen", addr)
	if err := os.WriteFile(s.path("pass"), []byte(shopPassphrase+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shop) path(name string) string { return filepath.Join(s.dir, name) }

// command is the program in the folder of the shop.
func (s *shop) command(args ...string) *exec.Cmd {
	c := exec.CommandContext(s.Context(), "tapvault", args...)
	if _, err := os.Stat(s.dir); err == nil {
		c.Dir = s.dir
	}
	return c
}

// run runs it to its end.
func (s *shop) run(args ...string) (out string, err error) {
	b, err := s.command(args...).CombinedOutput()
	return string(b), err
}

// ok runs it, and demands that it succeeds.
func (s *shop) ok(args ...string) string {
	s.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.Fatalf("tapvault %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused runs it, and demands that it fails and says why.
func (s *shop) refused(why string, args ...string) {
	s.Helper()
	out, err := s.run(args...)
	if err == nil || !strings.Contains(out, why) {
		s.Errorf("tapvault %s: %v, without the words %q\n%s", strings.Join(args, " "), err, why, out)
	}
}

// killed runs it until the moment has come, and kills it. It reports whether the
// program was alive until then.
func (s *shop) killed(moment func() bool, args ...string) bool {
	s.Helper()
	ctx, kill := context.WithCancel(s.Context())
	defer kill()
	c := exec.CommandContext(ctx, "tapvault", args...)
	c.Dir = s.dir
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				s.Fatalf("tapvault %s: %v\n%s", strings.Join(args, " "), err, said.String())
			}
			return false
		default:
		}
		if moment() {
			kill()
			<-ended
			return !c.ProcessState.Exited()
		}
		time.Sleep(time.Millisecond)
	}
}

// begin lists the files whose names begin so.
func (s *shop) begin(prefix string) (names []string) {
	s.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names
}
