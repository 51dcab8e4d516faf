package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/rig"
	"github.com/tapvault/tapvault/internal/sim/vpcd"
	"github.com/tapvault/tapvault/terminal/psam"
)

func cardCommand(stdout, stderr io.Writer) *cobra.Command {
	var dir, url, addr, demoKeys string
	c := &cobra.Command{
		Use:   "card",
		Short: "Put a phone into a virtual card reader, where any PC/SC program finds it",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (dir == "") == (demoKeys == "") {
				return cli.Misusef("reading flags: one of --dir and --demo-keys is needed")
			}
			s := cardShow{stdout: stdout, stderr: stderr, addr: addr}
			if demoKeys != "" {
				return s.throwAway(cmd.Context(), demoKeys)
			}
			return s.running(cmd.Context(), dir, url)
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder that 'tapvault init' made")
	f.StringVar(&demoKeys, "demo-keys", "", "need no service: make a phone on throw-away keys, and write its purchase masters to this new file, for the PSAM of a reader that shall take it")
	f.StringVar(&url, "url", "https://localhost:8443", "where the service listens")
	f.StringVar(&addr, "vpcd", "127.0.0.1:"+vpcd.Port, "where the driver of the virtual reader listens")
	return c
}

// cardShow shows one phone.
type cardShow struct {
	stdout, stderr io.Writer
	addr           string
}

// running provisions a phone on a running service and keeps it in the reader
// until ctx ends.
func (s cardShow) running(ctx context.Context, dir, url string) (err error) {
	w, err := openWorld(ctx, dir, url, time.Now)
	if w != nil {
		defer func() { err = errors.Join(err, w.close()) }()
	}
	if err != nil {
		return err
	}
	t, err := w.issuer.RequestToken(ctx, testRequest())
	if err != nil {
		return fmt.Errorf("requesting a token: %w", err)
	}
	handset, err := w.provision(ctx, t.Ref)
	if err != nil {
		return fmt.Errorf("provisioning the phone: %w", err)
	}
	return s.show(ctx, w.terminal, t, handset)
}

// throwAway does the same on a service that it makes for the purpose, whose
// purchase masters it writes down.
func (s cardShow) throwAway(ctx context.Context, file string) (err error) {
	r, err := rig.New(ctx, rig.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := writeMasters(file, r.Masters()); err != nil {
		return err
	}
	issuer, err := r.Client("issuer")
	if err != nil {
		return err
	}
	wallet, err := r.Client("wallet")
	if err != nil {
		return err
	}
	terminal, err := r.Client("terminal")
	if err != nil {
		return err
	}
	t, err := issuer.RequestToken(ctx, testRequest())
	if err != nil {
		return fmt.Errorf("requesting a token: %w", err)
	}
	handset, err := sim.Provision(ctx, wallet, t.Ref, sim.HandsetConfig{Dir: r.Dir})
	if err != nil {
		return fmt.Errorf("provisioning the phone: %w", err)
	}
	return s.show(ctx, terminal, t, handset)
}

func testRequest() wire.TokenRequest {
	return wire.TokenRequest{PAN: wire.NewDigits(testCard), PANExpiry: "3012", Location: "03"}
}

// writeMasters writes throw-away masters as a PSAM wants them: each under its
// usage and version. It never overwrites a file.
func writeMasters(file string, masters map[keyref.Ref][16]byte) error {
	type entry struct {
		Usage   string `json:"usage"`
		Version uint8  `json:"version"`
		Key     string `json:"key"`
	}
	var all []entry
	for ref, k := range masters {
		e := entry{Usage: fmt.Sprintf("%02X", psam.TwoLevels), Version: ref.Version, Key: fmt.Sprintf("%X", k)}
		if ref.Usage == keyref.SlotPurchaseMaster {
			e.Usage = fmt.Sprintf("%02X", psam.ThreeLevels)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.Usage, b.Usage) })
	b, err := json.MarshalIndent(map[string]any{"throw_away_masters": all}, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Write(file, append(b, '\n')); err != nil {
		return fmt.Errorf("writing throw-away masters: %w", err)
	}
	return nil
}

// show keeps a phone in the virtual reader until ctx ends, and says what to do
// with it.
func (s cardShow) show(ctx context.Context, terminal *client.Client, t wire.Token, handset *sim.Handset) (err error) {
	defer func() { err = errors.Join(err, handset.Close()) }()
	p, err := terminal.Parameters(ctx)
	if err != nil {
		return fmt.Errorf("fetching terminal parameters: %w", err)
	}
	fmt.Fprintf(s.stdout, "A phone with token %s: %d slots, good until %s.\n", masked(t.Number), handset.Slots,
		t.NotAfter.Local().Format("2006-01-02 15:04 MST"))
	missed := false
	err = vpcd.Serve(ctx, vpcd.Config{Addr: s.addr, Card: handset,
		Inserted: func() {
			missed = false
			fmt.Fprintf(s.stdout, "It is in the virtual reader at %s.\n%s", s.addr, whatToDo(p.AID))
		},
		Lost: func(err error) {
			if !missed { // once, not at every try
				fmt.Fprintf(s.stderr, "tapsim: %v; trying again every second\n"+
					"tapsim: hint: is pcscd running, with vsmartcard-vpcd installed? docs/simulators.md says how\n", err)
			}
			missed = true
		}})
	fmt.Fprintf(s.stdout, "The phone is taken out, with %d of %d slots left.\n", handset.Live(), handset.Slots)
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
  opensc-tool -r "Virtual PCD 00 00" \
    -s %s \
    -s 00:B0:95:00:1C -s 80:5C:00:02:04
which selects the transit application, reads file 0015 (issuer, token number,
dates) and asks for the balance. Ctrl-C takes the phone out.
`, selection)
}
