// Command tapvault is the payment-token service and its operation.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // service days need zones, also where no zone files are installed

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
)

func main() {
	collectLater()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if !slices.Contains(os.Args, serving) {
		context.AfterFunc(ctx, stop) // so that a second signal ends the program: a call of an HSM's module may never return
	}
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
	root.SetIn(stdin)
	return cli.Run(ctx, root, args, stdout, stderr, hintFor)
}

func (a *app) root() *cobra.Command {
	root := cli.Root("tapvault", "A payment-token service and HSM front-end for tap-to-pay",
		"Tapvault replaces card numbers and card keys by tokens that live a day, keeps every\n"+
			"master key in an HSM, and answers the checks that terminals, wallets and issuers need.")
	root.PersistentFlags().StringVar(&a.config, "config", "tapvault.yaml", "configuration file")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print data as JSON")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return undumpable(c.Name()) }
	root.AddCommand(
		a.initCommand(), a.serveCommand(), a.checkConfigCommand(), a.doctorCommand(), a.migrateCommand(),
		a.clientCommand(), a.keysCommand(), a.denylistCommand(), a.rewrapCommand(),
		a.exportCommand(), a.importCommand(), a.auditCommand(), a.approvalsCommand(),
		a.conformanceCommand(), a.benchCommand(), a.benchClientCommand(), a.explainCommand(), a.versionCommand(),
	)
	return root
}

// undumpable keeps PINs, keys and card numbers that a command takes into its memory
// out of core files, before it reads anything. The service does so by itself, a
// moment later; benches have keys of their own, and look at their own process.
func undumpable(command string) error {
	switch command {
	case "serve", "bench", "bench-client":
		return nil
	}
	if err := noCoreDumps(); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	return nil
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name())
	}
	g := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return cli.Misusef("reading arguments: %s needs one of: %s", use, strings.Join(names, ", "))
		}}
	g.AddCommand(commands...)
	return g
}
