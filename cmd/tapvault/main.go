// Command tapvault is the payment-token service and its operation.
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
	_ "time/tzdata" // service days need zones, also where no zone files are installed

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitMisuse = 2
)

func main() {
	collectLater()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// app is what every command shares.
type app struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	config string // --config
	json   bool   // --json
}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "tapvault: %s\n", line)
	}
	if h := hintFor(err); h != "" {
		fmt.Fprintf(stderr, "tapvault: hint: %s\n", h)
	}
	if m := (misuse{}); errors.As(err, &m) || strings.HasPrefix(err.Error(), "unknown command") {
		return exitMisuse
	}
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tapvault",
		Short: "A payment-token service and HSM front-end for tap-to-pay",
		Long: "Tapvault replaces card numbers and card keys by tokens that live a day, keeps every\n" +
			"master key in an HSM, and answers the checks that terminals, wallets and issuers need.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.config, "config", "tapvault.yaml", "configuration file")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print data as JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	root.AddCommand(a.initCommand(), a.serveCommand(), a.checkConfigCommand(), a.migrateCommand(),
		a.clientCommand(), a.keysCommand(), a.denylistCommand(), a.rewrapCommand(), a.exportCommand(), a.importCommand(), a.auditCommand(), a.conformanceCommand(), a.benchCommand(), a.explainCommand(),
		a.versionCommand())
	return root
}

// misuse is an error in how the command was called.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

func misused(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// exactly demands n arguments, named in usage.
func exactly(n int, usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return misused("reading arguments: %d given; usage: tapvault %s", len(args), usage)
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name())
	}
	g := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return misused("reading arguments: %s needs one of: %s", use, strings.Join(names, ", "))
		}}
	g.AddCommand(commands...)
	return g
}
