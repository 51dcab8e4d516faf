package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with an installation, and how to mend it, changing nothing",
		Long: "Looks at everything that the service needs, not only up to the first fault: configuration,\n" +
			"files and their permissions, certificate, HSM, keys, database, clock, audit record, disks, swap,\n" +
			"port and collector of traces. It changes nothing and may be called while the service runs. Call it\n" +
			"as the user who runs the service. Exit 1 when something would stop the service or make it unsafe.",
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

// badly is a finding of an error. Advice that came with the error counts before
// mend, and mend before what goes with its kind.
func badly(part string, err error, mend string) finding {
	var h hinted
	if mend == "" || errors.As(err, &h) {
		mend = hintFor(err)
	}
	return bad(part, mend, "%s", cli.Plain(err))
}

// examine looks at every part. Without a configuration there is nothing to look
// at.
func (a *app) examine(ctx context.Context) []finding {
	cfg, err := a.loadConfig()
	if err != nil {
		return []finding{badly("configuration", err, "")}
	}
	found := []finding{fine("configuration", "%s can be read (%s)", a.config, cfg.Environment)}
	for _, look := range []func(context.Context, assembly.Config) []finding{
		lookAtUser, lookAtFiles, lookAtCertificate, lookAtHSM, lookAtDatabase, lookAtClock, lookAtRecord, lookAtDisks, lookAtSwap, lookAtPort, lookAtTraces,
	} {
		found = append(found, look(ctx, cfg)...)
	}
	return found
}

// printFindings keeps to the columns of a terminal.
func (a *app) printFindings(found []finding) {
	const next = "       "
	for _, f := range found {
		mark := map[string]string{stateOK: "ok     ", stateNote: "note   ", stateWrong: "WRONG  "}[f.State]
		for line := range strings.SplitSeq(f.Says, "\n") {
			fmt.Fprintln(a.stdout, cli.Hang(mark+f.Part+": ", next, line))
		}
		if f.Mend != "" {
			fmt.Fprintln(a.stdout, cli.Hang(next+"mend: ", next, f.Mend))
		}
	}
}
