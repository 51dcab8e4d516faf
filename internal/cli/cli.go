// Package cli is what the commands share: their exit codes, and how misuse and
// failure are told.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	OK      = 0
	Failed  = 1
	Misused = 2
)

// Misuse is an error in how a command was called.
type Misuse struct{ Err error }

func (m Misuse) Error() string { return m.Err.Error() }

// Unwrap returns the error.
func (m Misuse) Unwrap() error { return m.Err }

// Misusef makes a [Misuse].
func Misusef(format string, args ...any) error { return Misuse{fmt.Errorf(format, args...)} }

// Root makes the command that holds all others of a program.
func Root(use, short, long string) *cobra.Command {
	root := &cobra.Command{Use: use, Short: short, Long: long, SilenceErrors: true, SilenceUsage: true}
	root.SetHelpFunc(help)
	root.SetUsageFunc(func(c *cobra.Command) error { return usage(c.OutOrStderr(), c) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Misuse{plainFlag(err)} })
	return root
}

// Exactly demands n arguments; usage follows the program's name.
func Exactly(n int, usage string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return Misusef("reading arguments: %d given; usage: %s %s", len(args), c.Root().Name(), usage)
		}
		return nil
	}
}

// Run runs a program and returns its exit code. A failure is told on stderr in
// plain words, each of its lines after the program's name, and then what hint
// says of it; hint may be nil. See [tell].
func Run(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer, hint func(error) string) int {
	if len(args) == 1 && args[0] == "--version" {
		args = []string{"version"}
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return OK
	}
	tell(stderr, root.Name()+": ", Plain(err))
	unknown := strings.HasPrefix(err.Error(), "unknown command")
	if unknown {
		hint = func(error) string { return fmt.Sprintf("`%s help` lists the commands", root.Name()) }
	}
	if hint != nil {
		if h := hint(err); h != "" {
			tell(stderr, root.Name()+": ", "hint: "+h)
		}
	}
	if m := (Misuse{}); errors.As(err, &m) || unknown {
		return Misused
	}
	return Failed
}
