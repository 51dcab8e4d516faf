package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
)

// TestHelpFits: the help of every command says what it is for, and how it is
// called, in the columns of a terminal; --json is known to all.
func TestHelpFits(t *testing.T) {
	var walk func(c *cobra.Command, args []string)
	seen := 0
	walk = func(c *cobra.Command, args []string) {
		seen++
		var out, told bytes.Buffer
		if code := run(t.Context(), append(args, "--help"), strings.NewReader(""), &out, &told); code != cli.OK || told.Len() > 0 {
			t.Errorf("%v: exit %d, %s", args, code, told.String())
		}
		for _, want := range []string{"\nUsage:\n  tapvault", "--json", "--config"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v: the help lacks %q", args, want)
			}
		}
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSuffix(line, "\n"); len([]rune(line)) > cli.Columns {
				t.Errorf("%v: %d columns: %s", args, len(line), line)
			}
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub, append(args[:len(args):len(args)], sub.Name()))
			}
		}
	}
	walk((&app{}).root(), nil)
	if seen < 30 {
		t.Errorf("%d commands were seen", seen)
	}
}
