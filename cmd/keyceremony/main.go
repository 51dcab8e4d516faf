// Command keyceremony runs key ceremonies: it checks a script, rehearses it, holds it, and judges its transcript.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tapvault/tapvault/internal/cli"
)

// silence is how long a program that was told to stop may go on without a word.
const silence = 2 * time.Second

const waiting = "keyceremony: it stops as soon as the HSM answers. Ctrl-C ends it now; nothing\r\n" +
	"             is lost by that: go on with --resume.\r\n"

// ends are the signals that stop a ceremony. Ctrl-\ is one of them: Go would answer it with a
// page of stacks and registers, in which keys may be, on a screen that people look at.
var ends = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT}

func main() { os.Exit(attended(os.Args[1:])) }

// attended is run for somebody who may want it to stop.
func attended(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	shown, unknown := term.GetState(int(os.Stdin.Fd())) // a prompt changes it
	context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, ends...)
		stop()
		time.AfterFunc(silence, func() { fmt.Fprint(os.Stderr, waiting) })
		s := <-again // it ends the program: a call of an HSM's module may never return
		if unknown == nil {
			_ = term.Restore(int(os.Stdin.Fd()), shown)
		}
		die(s)
	})
	defer stop()
	return run(ctx, args, os.Stdin, os.Stdout, os.Stderr)
}

// die ends the program by a signal, as if it had not been waited for.
func die(s os.Signal) {
	if s == syscall.SIGQUIT { // see [ends]
		s = syscall.SIGTERM
	}
	signal.Reset(s)
	if n, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(os.Getpid(), n)
	}
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
