package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/vpcd"
)

func cardCommand(stdout, stderr io.Writer) *cobra.Command {
	var dir, url, addr string
	c := &cobra.Command{
		Use:   "card",
		Short: "Put a phone into a virtual card reader, where any PC/SC program finds it",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return misuse{errors.New("reading flags: --dir is needed")}
			}
			return showCard(cmd.Context(), stdout, stderr, dir, url, addr)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder that `tapvault init` made")
	f.StringVar(&url, "url", "https://localhost:8443", "where the service listens")
	f.StringVar(&addr, "vpcd", "127.0.0.1:"+vpcd.Port, "where the driver of the virtual reader listens")
	return c
}

// showCard provisions a phone and keeps it in the reader until ctx ends.
func showCard(ctx context.Context, stdout, stderr io.Writer, dir, url, addr string) (err error) {
	w, err := openWorld(ctx, dir, url, time.Now)
	if w != nil {
		defer func() { err = errors.Join(err, w.close()) }()
	}
	if err != nil {
		return err
	}
	aid, err := w.applicationID(ctx)
	if err != nil {
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
	fmt.Fprintf(stdout, "A phone with token %s, reference %s: %d slots, good until %s.\n", masked(t.Number), t.Ref,
		handset.Slots, t.NotAfter.In(w.zone).Format("2006-01-02 15:04 MST"))
	return insertCard(ctx, stdout, stderr, addr, aid, handset)
}

// applicationID is what readers of this service select.
func (w *world) applicationID(ctx context.Context) (string, error) {
	p, err := w.terminal.Parameters(ctx)
	if err != nil {
		return "", fmt.Errorf("fetching terminal parameters: %w", err)
	}
	return p.AID, nil
}

// insertCard keeps a phone in the virtual reader until ctx ends, and says what
// to do with it.
func insertCard(ctx context.Context, stdout, stderr io.Writer, addr, aid string, handset *sim.Handset) error {
	missed := false
	err := vpcd.Serve(ctx, vpcd.Config{Addr: addr, Card: handset,
		Inserted: func() {
			missed = false
			fmt.Fprintf(stdout, "It is in the virtual reader at %s.\n%s", addr, whatToDo(aid))
		},
		Lost: func(err error) {
			if !missed { // once, not at every try
				fmt.Fprintf(stderr, "tapsim: %v; trying again every second\n"+
					"tapsim: hint: is pcscd running, with vsmartcard-vpcd installed? docs/simulators.md says how to start it\n", err)
			}
			missed = true
		}})
	fmt.Fprintf(stdout, "The phone is taken out with %d of %d slots left.\n", handset.Live(), handset.Slots)
	return err
}

// whatToDo is a first conversation with the card, to be copied.
func whatToDo(aid string) string {
	b, err := hex.DecodeString(aid)
	if err != nil {
		b = nil
	}
	selection := fmt.Sprintf("00:A4:04:00:%02X:%s:00", len(b), strings.ReplaceAll(fmt.Sprintf("% X", b), " ", ":"))
	return fmt.Sprintf(`Try in another window:
  opensc-tool -l
  opensc-tool -r "Virtual PCD 00 00" -s %s -s 00:B0:95:00:1C -s 80:5C:00:02:04
which selects the transit application, reads file 0015 (issuer, token number,
dates) and asks for the balance. Ctrl-C takes the phone out.
`, selection)
}
