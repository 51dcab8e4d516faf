package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/denylist"
	"github.com/tapvault/tapvault/denylist/denydb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/terminal/deny"
)

func (a *app) denylistCommand() *cobra.Command {
	return group("denylist", "Look at what readers are told of whom not to take", a.denylistShowCommand())
}

func (a *app) denylistShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the deny list as it is published; tokens are named by reference",
		Args:  cli.Exactly(0, "denylist show"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, lines, err := a.published(cmd.Context())
			if err != nil {
				return err
			}
			return a.printDenyList(v, lines)
		},
	}
}

// published reads the last version and what is on it.
func (a *app) published(ctx context.Context) (v denylist.Version, lines []denylist.Line, err error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return v, nil, err
	}
	db, err := assembly.OpenStore(ctx, cfg, time.Now)
	if err != nil {
		return v, nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	v, lines, err = denydb.New(db).Published(ctx)
	lines = slices.DeleteFunc(lines, func(l denylist.Line) bool { return !time.Now().Before(l.Until) })
	slices.SortFunc(lines, func(a, b denylist.Line) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return v, lines, err
}

type denyRow struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	Ctr   uint16    `json:"min_ctr,omitempty"`
	Until time.Time `json:"until"`
}

func (a *app) printDenyList(v denylist.Version, lines []denylist.Line) error {
	rows := make([]denyRow, len(lines))
	for i, l := range lines {
		rows[i] = denyRow{l.Kind.String(), l.Name, l.Ctr, l.Until}
	}
	size := len(lines) * deny.EntrySize
	if a.json {
		shown := map[string]any{"version": v.Number, "entries": rows, "bytes": size,
			"cap_fen": v.Switches.Cap, "switched_off": v.Switches != deny.Switches{}}
		if v.Number > 0 {
			shown["published_at"] = v.At
		}
		return a.print(shown)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "version %d, %d entries, %d bytes of entries\n", v.Number, len(lines), size)
	if v.Switches != (deny.Switches{}) {
		fmt.Fprintf(w, "switched off: profiles %02X, classes %02X, key versions %04X; cap %d fen (0: none)\n",
			v.Switches.Profiles, v.Switches.Classes, v.Switches.KeyVers, v.Switches.Cap)
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\tmin_ctr %d\n", r.Kind, r.Name, r.Until.Format(time.RFC3339), r.Ctr)
	}
	return w.Flush()
}
