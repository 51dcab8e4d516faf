package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/progress"
	"github.com/tapvault/tapvault/internal/sim/day"
)

// errNotHeld is how a simulator ends that saw a promise broken.
var errNotHeld = errors.New("playing: not everything held; see what was printed")

func dayCommand(stdout, stderr io.Writer) *cobra.Command {
	c, plots, asJSON := day.Default(), "", false
	cmd := &cobra.Command{
		Use:   "day",
		Short: "Play a day of a city on a service of its own, and say what it cost",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Validate(); err != nil {
				return cli.Misusef("reading flags: %w", err)
			}
			return playDay(cmd.Context(), stdout, stderr, c, plots, asJSON)
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.Wallets, "wallets", c.Wallets, "holders, each with a phone")
	f.IntVar(&c.Terminals, "terminals", c.Terminals, "readers of all classes")
	f.Float64Var(&c.Vehicles, "vehicles", c.Vehicles, "share of readers that upload at the depot (class V)")
	f.Float64Var(&c.Merchants, "merchants", c.Merchants, "share of readers that ask online (class M)")
	f.IntVar(&c.Rides, "rides", c.Rides, "rides of each holder, about")
	f.IntVar(&c.Clones, "clones", c.Clones, "phones that are copied, PIN and all")
	f.IntVar(&c.Forgetful, "forgetful", c.Forgetful, "holders who enter wrong PINs")
	f.DurationVar(&c.Outage, "outage", c.Outage, "how long the service is down in the morning")
	f.DurationVar(&c.Skew, "skew", c.Skew, "how far clocks of phones and readers are wrong, at most")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "of everything that chance decides")
	f.StringVar(&plots, "plots", "", "folder for plots of the day, as SVG")
	f.BoolVar(&asJSON, "json", false, "print data as JSON")
	return cmd
}

func playDay(ctx context.Context, stdout, stderr io.Writer, c day.Config, plots string, asJSON bool) error {
	bar := progress.New(stderr, "tapsim", "minutes of the day", 18*60)
	c.Went = func(minutes int) { bar.At(int64(minutes)) }
	r, err := day.Play(ctx, c)
	bar.End()
	if err != nil {
		return fmt.Errorf("playing a day: %w", err)
	}
	var files []string
	if plots != "" {
		if files, err = r.WritePlots(plots); err != nil {
			return err
		}
	}
	if asJSON {
		err = json.NewEncoder(stdout).Encode(r)
	} else {
		err = r.WriteText(stdout)
		for _, f := range files {
			fmt.Fprintf(stdout, "plot: %s\n", f)
		}
	}
	if err == nil && !r.Held {
		err = errNotHeld
	}
	return err
}
