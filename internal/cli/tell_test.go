package cli_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
)

// TestTold: on a terminal a failure is broken between words, with no word lost; in a file
// each of its lines stays whole. A command to be copied is whole everywhere.
func TestTold(t *testing.T) {
	const command = "  prog do --with 'something that is much longer than a terminal, and is to be copied as it stands'"
	said := strings.TrimSpace(strings.Repeat("internationalisation is said ", 8))
	fail := func(stderr *os.File) {
		root := cli.Root("prog", "", "")
		root.AddCommand(&cobra.Command{Use: "do", RunE: func(*cobra.Command, []string) error { return errors.New(said) }})
		hint := func(error) string { return said + ", with:\n" + command }
		if code := cli.Run(t.Context(), root, []string{"do"}, stderr, stderr, hint); code != cli.Failed {
			t.Errorf("exit %d", code)
		}
	}
	hand, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer hand.Close()
	fail(tty)
	var shown bytes.Buffer
	b := make([]byte, 4096)
	for !strings.Contains(shown.String(), "it stands'\r\n") {
		n, err := hand.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(b[:n])
	}
	_ = tty.Close()
	text := strings.ReplaceAll(shown.String(), "\r", "")
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); len(line) > cli.Columns && line != command {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if words := strings.Count(text, "internationalisation"); words != 16 || !strings.Contains(text, "\n      ") || !strings.Contains(text, "\n"+command+"\n") {
		t.Errorf("%d words in\n%s", words, text)
	}

	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fail(file)
	if kept, err := os.ReadFile(file.Name()); err != nil || string(kept) != "prog: "+said+"\nprog: hint: "+said+", with:\n"+command+"\n" {
		t.Errorf("%v in a file:\n%s", err, kept)
	}
}
