package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with an installation, and how to mend it, changing nothing",
		Long: "Looks at everything that the service needs, all of it, not only up to the first fault:\n" +
			"configuration, files and their permissions, certificate, HSM, keys, database, clock, audit record,\n" +
			"disks, swap, port and collector of traces. It changes nothing and may be called while the service runs. Exit 1 when\n" +
			"something is wrong that would stop the service or make it unsafe.",
		Args: cli.Exactly(0, "doctor --config FILE"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			found := a.examine(cmd.Context())
			wrong := slices.ContainsFunc(found, func(f finding) bool { return f.State == stateWrong })
			if a.json {
				if err := a.print(map[string]any{"ok": !wrong, "findings": found}); err != nil {
					return err
				}
			} else {
				a.printFindings(found)
			}
			if wrong {
				return withHint(errors.New("something is wrong with this installation"), "mend what is marked WRONG, from the top, and call tapvault doctor again")
			}
			return nil
		},
	}
}

// How a finding counts.
const (
	stateOK    = "ok"
	stateNote  = "note"  // it works, and should be looked at
	stateWrong = "wrong" // the service would not start, or not be safe
)

// finding is what was seen of one part of an installation.
type finding struct {
	Part  string `json:"part"`
	State string `json:"state"`
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"`
}

func fine(part, format string, args ...any) finding {
	return finding{Part: part, State: stateOK, Says: fmt.Sprintf(format, args...)}
}

func note(part, mend, format string, args ...any) finding {
	return finding{part, stateNote, fmt.Sprintf(format, args...), mend}
}

func bad(part, mend, format string, args ...any) finding {
	return finding{part, stateWrong, fmt.Sprintf(format, args...), mend}
}

// badly is a finding of an error, with the advice that goes with its kind.
func badly(part string, err error, mend string) finding {
	if h := hintFor(err); h != "" {
		mend = h
	}
	return bad(part, mend, "%v", err)
}

// examine looks at every part. Without a configuration there is nothing to look
// at.
func (a *app) examine(ctx context.Context) []finding {
	cfg, err := a.loadConfig()
	if err != nil {
		return []finding{badly("configuration", err, "docs/operations.md explains every field")}
	}
	found := []finding{fine("configuration", "%s can be read (%s)", a.config, cfg.Environment)}
	for _, look := range []func(context.Context, assembly.Config) []finding{
		lookAtFiles, lookAtCertificate, lookAtHSM, lookAtDatabase, lookAtClock, lookAtRecord, lookAtDisks, lookAtSwap, lookAtPort, lookAtTraces,
	} {
		found = append(found, look(ctx, cfg)...)
	}
	return found
}

func (a *app) printFindings(found []finding) {
	for _, f := range found {
		mark := map[string]string{stateOK: "ok   ", stateNote: "note ", stateWrong: "WRONG"}[f.State]
		fmt.Fprintf(a.stdout, "%s  %s: %s\n", mark, f.Part, f.Says)
		if f.Mend != "" {
			fmt.Fprintf(a.stdout, "       mend: %s\n", f.Mend)
		}
	}
}
