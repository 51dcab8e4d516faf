// Command keyceremony runs key ceremonies: it checks a script, rehearses it, holds it, and judges its transcript.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
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

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	return cli.Run(ctx, a.root(), args, stdout, stderr, nil)
}

func (a *app) root() *cobra.Command {
	root := cli.Root("keyceremony", "Key ceremonies that officers can run, abort, resume and prove",
		"One script in, a signed transcript out. It never goes online, never overwrites a key or a\n"+
			"file, and takes no secret from an argument, a variable or a pipe. See docs/ceremony.md.")
	root.AddCommand(a.checkCommand(), a.rehearseCommand(), a.runCommand(), a.verifyCommand(), a.enrolCommand(), a.versionCommand())
	return root
}
