package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
)

// TestFlags: a value that a flag does not take is told in plain words, and not
// repeated.
func TestFlags(t *testing.T) {
	for arg, told := range map[string]string{
		"--version=256": "--version must be a whole number up to 255",
		"--size=x":      "--size must be a whole number",
		"--for=soon":    "--for must be a time such as 90s or 10m",
		"--share=half":  "--share must be a number",
		"--three=1,x":   "--three must be whole numbers with commas",
		"--yes=perhaps": "--yes must be true or false",
	} {
		root, c := cli.Root("prog", "", ""), &cobra.Command{Use: "do", RunE: func(*cobra.Command, []string) error { return nil }}
		f := c.Flags()
		f.Uint8("version", 0, "")
		f.Int("size", 0, "")
		f.Duration("for", 0, "")
		f.Float64("share", 0, "")
		f.UintSlice("three", nil, "")
		f.Bool("yes", false, "")
		root.AddCommand(c)
		var out, err bytes.Buffer
		if code := cli.Run(t.Context(), root, []string{"do", arg}, &out, &err, nil); code != cli.Misused || err.String() != "prog: reading flags: "+told+"\n" {
			t.Errorf("%s: exit %d, %q", arg, code, err.String())
		}
	}
}

// TestRun: a failure exits 1 and misuse, however deep, 2; each line is told
// after the program's name.
func TestRun(t *testing.T) {
	hint := func(err error) string {
		if err.Error() == "broken" {
			return "mend it"
		}
		return ""
	}
	for _, x := range []struct {
		name string
		args []string
		err  error
		code int
		told string
	}{
		{"done", []string{"do", "x"}, nil, cli.OK, ""},
		{"failed", []string{"do", "x"}, errors.New("one\ntwo"), cli.Failed, "prog: one\nprog: two\n"},
		{"failed with a hint", []string{"do", "x"}, errors.New("broken"), cli.Failed, "prog: broken\nprog: hint: mend it\n"},
		{"misused", []string{"do", "x"}, fmt.Errorf("doing: %w", cli.Misusef("no %s", "flag")), cli.Misused, "prog: doing: no flag\n"},
		{"arguments", []string{"do"}, nil, cli.Misused, "prog: reading arguments: 0 given; usage: prog do X\n"},
		{"flag", []string{"do", "x", "--y"}, nil, cli.Misused, "prog: unknown flag: --y\n"},
		{"command", []string{"withhold"}, nil, cli.Misused, "prog: unknown command \"withhold\" for \"prog\"\nprog: hint: `prog help` lists the commands\n"},
	} {
		root := cli.Root("prog", "", "")
		root.AddCommand(&cobra.Command{Use: "do", Args: cli.Exactly(1, "do X"), RunE: func(*cobra.Command, []string) error { return x.err }})
		var out, told bytes.Buffer
		if code := cli.Run(t.Context(), root, x.args, &out, &told, hint); code != x.code || told.String() != x.told {
			t.Errorf("%s: exit %d, %q", x.name, code, told.String())
		}
	}
}
