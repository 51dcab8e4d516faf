package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/transcript"
)

func readPlan(name string) (script.Plan, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return script.Plan{}, fmt.Errorf("reading the script: %w", err)
	}
	return script.Read(text)
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check SCRIPT",
		Short: "Say in plain words what a script does, and its short hash",
		Args:  cli.Exactly(1, "check SCRIPT"),
		RunE: func(_ *cobra.Command, args []string) error {
			plan, err := readPlan(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, cli.Fit(plan.String()))
			return err
		},
	}
}

func (a *app) verifyCommand() *cobra.Command {
	var approved, page, audit string
	c := &cobra.Command{
		Use:   "verify TRANSCRIPT",
		Short: "Judge a transcript with public keys alone, and say what happened",
		Long: "Exits 0 only if the transcript is whole and signed by everybody who had to. Without --script\n" +
			"it goes by the keys that the transcript itself names: give the script that was approved before\n" +
			"the day, and it has to be that one, with its people's keys.",
		Args: cli.Exactly(1, "verify TRANSCRIPT"),
		RunE: func(_ *cobra.Command, args []string) error { return a.verify(args[0], approved, page, audit) },
	}
	c.Flags().StringVar(&approved, "script", "", "the script as it was approved")
	c.Flags().StringVar(&audit, "audit-key", "", "public key of the token that signs, p256:...")
	c.Flags().StringVar(&page, "html", "", "also write the printable page to this new file")
	return c
}

func (a *app) verify(name, approved, page, audit string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading the transcript: %w", err)
	}
	want := transcript.Expect{AuditKey: strings.Join(strings.Fields(audit), "")} // it is printed in pieces
	if approved != "" {
		if want.Script, err = os.ReadFile(approved); err != nil {
			return fmt.Errorf("reading the script: %w", err)
		}
	}
	story, err := transcript.Verify(text, want)
	if err != nil {
		return err
	}
	fmt.Fprint(a.stdout, cli.Fit(story.Tell()))
	fmt.Fprintln(a.stdout, "The transcript is whole and signed.")
	if approved == "" {
		fmt.Fprintln(a.stdout, cli.Fill("Whose the people's keys are was not checked: give --script, the script that was approved."))
	}
	if page == "" {
		return nil
	}
	html, err := story.Page()
	if err != nil {
		return err
	}
	if err := durable.Write(page, html); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
