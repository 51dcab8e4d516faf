package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
)

func (a *app) checkConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config",
		Short: "Say what is wrong with the configuration, touching nothing else",
		Args:  cli.Exactly(0, "check-config --config FILE"),
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.loadConfig()
			if err != nil {
				return err
			}
			if a.json {
				return a.print(map[string]any{"ok": true, "environment": cfg.Environment})
			}
			fmt.Fprintf(a.stdout, "%s: ok (%s, %d realms, %d token ranges)\n", a.config, cfg.Environment,
				len(cfg.Realms), len(cfg.Vault.Ranges))
			return nil
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cli.Exactly(0, "version"),
		RunE: func(*cobra.Command, []string) error {
			version, goVersion := cli.Version()
			if a.json {
				return a.print(map[string]string{"version": version, "go": goVersion})
			}
			fmt.Fprintf(a.stdout, "tapvault %s (%s)\n", version, goVersion)
			return nil
		},
	}
}
