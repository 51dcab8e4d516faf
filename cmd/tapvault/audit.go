package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/audit/trail"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Check the record of who asked for what", a.auditVerifyCommand())
}

func (a *app) auditVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Walk the audit record's chain, and say where it breaks",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misused("reading arguments: %d given; usage: tapvault audit verify [FILE]", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := a.auditFile(args)
			if err != nil {
				return err
			}
			found, err := trail.Verify(file)
			if err != nil {
				return fmt.Errorf("verifying %s: %w", file, err)
			}
			if a.json {
				return a.print(map[string]any{"lines": found.Lines, "last": found.Last})
			}
			return a.say("%s: %d records, each follows from the one before; the last has hash %s", file, found.Lines, found.Last)
		},
	}
}

func (a *app) auditFile(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return "", err
	}
	return cfg.Path(cfg.Audit.File), nil
}
