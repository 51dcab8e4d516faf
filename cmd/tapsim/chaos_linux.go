package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/progress"
	"github.com/tapvault/tapvault/internal/sim/chaos"
)

func chaosCommand(stdout, stderr io.Writer) *cobra.Command {
	c, asJSON := chaos.Config{Bin: "tapvault", Dir: "build/chaos", Nodes: 3, Callers: 12}, false
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break a service of several processes under load, and hold what is left to what was answered",
		Long: "Starts processes of the service on one PostgreSQL server with a standby, loads them with requests\n" +
			"whose answers are known, breaks them in every way in turn, and compares database and audit records\n" +
			"with what was answered. Exit 1 when an acknowledged write is lost, a token is doubled, money moves\n" +
			"twice or something does not work again by itself.\n\nFaults: " + strings.Join(chaos.Names(), " "),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return playChaos(cmd.Context(), stdout, stderr, c, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Bin, "bin", c.Bin, "the tapvault program")
	f.StringVar(&c.Dir, "dir", c.Dir, "folder for the service; it is emptied first and stays")
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "processes of the service, 2 or more")
	f.IntVar(&c.Callers, "callers", c.Callers, "callers at the same time")
	f.DurationVar(&c.Peace, "peace", 0, "how long nothing is broken between faults; 0 means 500ms")
	f.IntVar(&c.Rounds, "rounds", 0, "how often each fault is played, spread evenly over the requests; 0 means once, and once more for every 400,000")
	f.Int64Var(&c.Requests, "requests", 0, "how many requests are answered at least; 0: until every fault was played once")
	f.StringSliceVar(&c.Faults, "faults", nil, "which faults to play, separated by commas; all of them otherwise")
	f.BoolVar(&asJSON, "json", false, "print data as JSON")
	return cmd
}

// playChaos breaks a service in a folder that nobody else uses and that was emptied.
func playChaos(ctx context.Context, stdout, stderr io.Writer, c chaos.Config, asJSON bool) (err error) {
	if err := chaos.Check(c.Faults); err != nil {
		return cli.Misusef("reading flags: %w", err)
	}
	for _, p := range []*string{&c.Bin, &c.Dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if _, err := os.Stat(c.Bin); err != nil { // before anything is removed
		return fmt.Errorf("finding the program: %w", err)
	}
	leave, err := take(c.Dir)
	if err != nil {
		return err
	}
	defer leave()
	if err := empty(c.Dir); err != nil {
		return err
	}
	bar := watched(stderr, &c)
	rep, err := chaos.Play(ctx, c)
	bar.End()
	if err != nil {
		return fmt.Errorf("breaking the service: %w", err)
	}
	if asJSON {
		err = json.NewEncoder(stdout).Encode(rep)
	} else {
		err = chaos.WriteTable(stdout, rep)
	}
	if err == nil && len(rep.Wrong) > 0 {
		err = fmt.Errorf("a promise was not kept: what the service and its nodes said is in %s", c.Dir)
	}
	return err
}

// watched has a bar show how far c is: of its requests or, without a number of those, of
// its faults.
func watched(stderr io.Writer, c *chaos.Config) *progress.Bar {
	what, all := "requests", c.Requests
	if all == 0 {
		what, all = "faults", int64(len(c.Faults))
		if all == 0 {
			all = int64(len(chaos.Names()))
		}
	}
	bar := progress.New(stderr, "tapsim", what, all)
	c.Told = func(played int, answered int64) {
		if what == "faults" {
			answered = int64(played)
		}
		bar.At(min(answered, all))
	}
	return bar
}

// empty removes the folder of an earlier run, and none that is another's.
func empty(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking into the folder of --dir: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "service-0.yaml")); err != nil && len(list) > 0 {
		return cli.Misusef("reading flags: --dir is emptied first, and %s holds something that is not of an earlier run: name another folder, or remove it", dir)
	}
	return os.RemoveAll(dir)
}
