package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/token"
)

// tapFlags says which taps of which service.
type tapFlags struct {
	dir, url string
	count    int
	amount   uint32 // fen
	asJSON   bool
}

func tapCommand(stdout io.Writer) *cobra.Command {
	var flags tapFlags
	c := &cobra.Command{
		Use:   "tap",
		Short: "Provision a phone on a running service, tap it at the reader, upload",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.dir == "" || flags.count < 1 {
				return cli.Misusef("reading flags: --dir is needed, and --count of 1 or more")
			}
			return tap(cmd.Context(), stdout, flags)
		},
	}
	f := c.Flags()
	f.StringVar(&flags.dir, "dir", "", "folder that 'tapvault init' made")
	f.StringVar(&flags.url, "url", "https://localhost:8443", "where the service listens")
	f.IntVar(&flags.count, "count", 1, "how many taps")
	f.Uint32Var(&flags.amount, "amount", 200, "fare of each, in fen")
	f.BoolVar(&flags.asJSON, "json", false, "print data as JSON")
	return c
}

// testCard is a card number of the rehearsal's card range that no card has.
const testCard = "6212345600001234"

func tap(ctx context.Context, out io.Writer, flags tapFlags) (err error) {
	w, err := openWorld(ctx, flags.dir, flags.url, time.Now)
	if w != nil {
		defer func() { err = errors.Join(err, w.close()) }()
	}
	if err != nil {
		return err
	}
	if err := w.openReader(ctx); err != nil {
		return err
	}
	t, err := w.issuer.RequestToken(ctx, wire.TokenRequest{PAN: wire.NewDigits(testCard), PANExpiry: "3012", Location: "03"})
	if err != nil {
		return fmt.Errorf("requesting a token: %w", err)
	}
	handset, err := w.provision(ctx, t.Ref)
	if err != nil {
		return fmt.Errorf("provisioning the phone: %w", err)
	}
	defer func() { err = errors.Join(err, handset.Close()) }()
	if flags.count > handset.Slots {
		return cli.Misusef("reading flags: --count %d: this phone was given %d slots, and each pays once", flags.count, handset.Slots)
	}
	for i := range flags.count {
		if _, err := w.reader.Tap(ctx, handset, token.Amount(flags.amount)); err != nil {
			return fmt.Errorf("tap %d of %d: %w", i+1, flags.count, err)
		}
	}
	receipts, err := w.reader.Upload(ctx)
	if err != nil {
		return fmt.Errorf("uploading: %w", err)
	}
	if err := w.reader.Report(ctx); err != nil {
		return err
	}
	if flags.asJSON {
		return json.NewEncoder(out).Encode(outcome(t.Ref, receipts))
	}
	fmt.Fprintf(out, "token %s, reference %s, %d slots\n", masked(t.Number), t.Ref, handset.Slots)
	return writeReceipts(out, receipts)
}

func writeReceipts(out io.Writer, receipts []terminal.Receipt) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TAP\tOUTCOME\tREASON")
	for _, r := range receipts {
		fmt.Fprintf(table, "%s\t%s\t%s\n", r.TapID, r.Outcome, r.Reason)
	}
	return table.Flush()
}

// outcome is what --json prints. Taps may be of earlier runs too.
func outcome(ref string, receipts []terminal.Receipt) any {
	type tapped struct {
		TapID   string `json:"tap_id"`
		Outcome string `json:"outcome"`
		Reason  string `json:"reason,omitempty"`
	}
	out := struct {
		Ref  string   `json:"token_reference_id"`
		Taps []tapped `json:"taps"`
	}{Ref: ref, Taps: []tapped{}}
	for _, r := range receipts {
		out.Taps = append(out.Taps, tapped(r))
	}
	return out
}
