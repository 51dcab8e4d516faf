// Command keyceremony runs key ceremonies: it checks a script, rehearses it, holds it, and judges its transcript.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitMisuse = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is what every command shares.
type app struct {
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
}

// misuse is an error in how the command was called.
type misuse struct{ error }

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "keyceremony: %s\n", line)
	}
	if m := (misuse{}); errors.As(err, &m) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitMisuse
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyceremony",
		Short: "Key ceremonies that officers can run, abort, resume and prove",
		Long: "One script in, a signed transcript out. It never goes online, never overwrites a key or a\n" +
			"file, and takes no secret from an argument, a variable or a pipe. See docs/ceremony.md.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	root.AddCommand(a.checkCommand(), a.rehearseCommand(), a.runCommand(), a.verifyCommand(), a.enrolCommand())
	return root
}

// exactly demands n arguments.
func exactly(n int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return misuse{fmt.Errorf("reading arguments: %d given; usage: keyceremony %s", len(args), usage)}
		}
		return nil
	}
}
