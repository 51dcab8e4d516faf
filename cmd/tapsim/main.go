// Command tapsim plays handsets and readers against a running service.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // readers write civil times, also where no zone files are installed

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := cli.Root("tapsim", "A handset and a reader that tap against a running service", "")
	root.AddCommand(attackCommand(stdout, stderr), chaosCommand(stdout, stderr), cardCommand(stdout, stderr), dayCommand(stdout, stderr), demoCommand(stdout), tapCommand(stdout), versionCommand(stdout))
	return cli.Run(ctx, root, args, stdout, stderr, hintFor)
}

func versionCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			version, goVersion := cli.Version()
			_, err := fmt.Fprintf(stdout, "tapsim %s (%s)\n", version, goVersion)
			return err
		},
	}
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return cli.Misusef("reading arguments: none are taken")
	}
	return nil
}
