package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/progress"
	"github.com/tapvault/tapvault/internal/sim/attack"
)

func attackCommand(stdout, stderr io.Writer) *cobra.Command {
	c, asJSON := attack.Config{Seed: 1}, false
	cmd := &cobra.Command{
		Use:   "attack",
		Short: "Play every attack of the design on a service of its own, against its bound",
		Long: "Plays every attack that the scheme was designed against and that software can play, against\n" +
			"the real service, phones and readers in this process, and holds what each got to the bound\n" +
			"that the design gives. Exit 1 when one got more. docs/simulators.md explains each row.\n\n" +
			"Rows: " + strings.Join(attack.Names(), " "),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return playAttacks(cmd.Context(), stdout, stderr, c, asJSON)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&c.Seed, "seed", c.Seed, "of everything that chance decides")
	f.StringSliceVar(&c.Rows, "rows", nil, "which rows to play, separated by commas; all of them otherwise")
	f.BoolVar(&asJSON, "json", false, "print data as JSON")
	return cmd
}

func playAttacks(ctx context.Context, stdout, stderr io.Writer, c attack.Config, asJSON bool) error {
	if err := attack.Check(c.Rows); err != nil {
		return cli.Misusef("reading flags: %w", err)
	}
	var bar *progress.Bar
	c.Played = func(done, total int, _ string) {
		if bar == nil {
			bar = progress.New(stderr, "tapsim", "attacks", int64(total))
		}
		bar.At(int64(done))
	}
	results, err := attack.Play(ctx, c)
	if bar != nil {
		bar.End()
	}
	if err != nil {
		return fmt.Errorf("playing attacks: %w", err)
	}
	if asJSON {
		err = json.NewEncoder(stdout).Encode(results)
	} else {
		err = attack.WriteTable(stdout, results)
	}
	if err == nil && !attack.Held(results) {
		err = errNotHeld
	}
	return err
}
