package pcsctest

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// Scriptor is a way to the card through PC/SC: the program scriptor, which is
// given one command at a time and says what the card answered.
type Scriptor struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Connect starts scriptor on the reader's card; it ends with the test.
func (d *Daemon) Connect(t testing.TB) *Scriptor {
	t.Helper()
	s := &Scriptor{cmd: d.Command(context.Background(), "scriptor", "-u", "-r", Reader)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("pcsctest: %v", err)
	}
	s.out = bufio.NewReader(out)
	t.Cleanup(s.Close)
	return s
}

// Transmit implements [apdu.Transmitter].
func (s *Scriptor) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(s.in, "% X\n", command); err != nil {
		return nil, fmt.Errorf("telling scriptor: %w", err)
	}
	var answer strings.Builder
	for begun := false; ; {
		line, err := s.out.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("hearing scriptor: %w", err)
		}
		text, first := strings.CutPrefix(line, "< ")
		begun = begun || first
		if !begun {
			continue // its greeting, and the command again
		}
		bytes, _, last := strings.Cut(text, ":")
		answer.WriteString(bytes)
		if last {
			return hex.DecodeString(strings.Join(strings.Fields(answer.String()), ""))
		}
	}
}

// Close ends scriptor; the card stays powered, as other programs may use it.
func (s *Scriptor) Close() {
	_ = s.in.Close()
	_ = s.cmd.Wait()
}
