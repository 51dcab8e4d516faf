package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
)

func (a *app) migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date (serve does it too)",
		Args:  cli.Exactly(0, "migrate --config FILE"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			db, err := assembly.OpenStore(cmd.Context(), cfg, time.Now)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			have, know, err := db.Versions(cmd.Context())
			if err != nil {
				return fmt.Errorf("reading the schema's version: %w", err)
			}
			floor, err := db.Floor(cmd.Context())
			if err != nil {
				return fmt.Errorf("reading who may go on with the schema: %w", err)
			}
			if a.json {
				return a.print(map[string]int64{"schema": have, "newest": know, "floor": floor})
			}
			if have > know {
				return a.say("the database has schema %d, which a newer program made; this one, which knows %d, may go on with it", have, know)
			}
			return a.say("the database has schema %d, the newest;\nprograms that know %d may go on with it", have, floor)
		},
	}
}
