//go:build !linux

package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"
)

func chaosCommand(_, _ io.Writer) *cobra.Command {
	return &cobra.Command{Use: "chaos", Short: "Break a service of several processes under load (Linux only)", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return errors.New("chaos is played on Linux only") }}
}
