package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/terminal"
)

func demoCommand(stdout io.Writer) *cobra.Command {
	var bin, dir string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Tell the story of one card on a real service, checking every step",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bin == "" || dir == "" {
				return cli.Misusef("reading flags: --bin and --dir are needed")
			}
			return runDemo(cmd.Context(), stdout, bin, dir)
		},
	}
	c.Flags().StringVar(&bin, "bin", "", "the tapvault program")
	c.Flags().StringVar(&dir, "dir", "", "folder to make the rehearsal in; one that an earlier demo made is made anew")
	return c
}

// demo is the state of the story.
type demo struct {
	teller
	bin, dir string
	port     string
	offset   time.Duration // of every clock in the story
	service  *child
	world    *world
	card     string // the card's number, never shown in full
	token    wire.Token
	handset  *sim.Handset
	tap      terminal.Tap
	tapID    string
	holders
}

func (d *demo) now() time.Time { return time.Now().Add(d.offset) }

// chapters are the steps of the story; each returns an error when what it
// tells did not hold.
func (d *demo) chapters() []func(context.Context) error {
	return []func(context.Context) error{
		d.makeRehearsal, d.startService, d.requestToken, d.provisionPhone, d.payOffline, d.uploadTap, d.settle,
		d.tamper, d.openWallet, d.rideAndSync, d.rideUnderWrongPIN, d.cloneIsFound, d.tomorrow, d.strangers, d.auditTrail,
	}
}

func runDemo(ctx context.Context, out io.Writer, bin, dir string) (err error) {
	began := time.Now()
	d := &demo{teller: teller{w: out, bold: isTerminal(out)}, bin: bin, dir: dir, card: testCard}
	leave, err := take(dir)
	if err != nil {
		return err
	}
	defer leave()
	if err := d.sweep(); err != nil {
		return err
	}
	if d.offset, err = awayFromCutOver(time.Now()); err != nil {
		return err
	}
	defer func() {
		if cerr := d.close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("closing the demo: %w", cerr))
		}
	}()
	fmt.Fprintln(out, "Tapvault: the story of one card, on a real service with a real (software) HSM.")
	for _, chapter := range d.chapters() {
		if err := chapter(ctx); err != nil {
			return fmt.Errorf("step %d did not hold: %w", d.n, err)
		}
	}
	fmt.Fprintf(out, "\nEvery step held. It took %d seconds.\n\n", int(time.Since(began).Seconds()+0.5))
	fmt.Fprintf(out, "What to try next:\n"+
		"  %[1]s serve --config %[2]s/tapvault.yaml &\n"+
		"  %[3]s tap --dir %[2]s --url https://localhost:%[4]s --count 3\n"+
		"  %[1]s keys list --config %[2]s/tapvault.yaml\n"+
		"  and the README: what each user does next, with calls to copy.\n",
		bin, dir, filepath.Join(filepath.Dir(bin), "tapsim"), d.port)
	return nil
}

// marker says that a folder was made by a demo and may be made anew.
const marker = ".tapsim-demo"

// sweep removes what an earlier demo left, and nothing else.
func (d *demo) sweep() error {
	if _, err := os.Stat(filepath.Join(d.dir, marker)); err != nil {
		return nil // `tapvault init` refuses a folder that holds anything
	}
	return os.RemoveAll(d.dir)
}

// awayFromCutOver shifts the story's clock when the service day is about to
// end, so that no token expires while the story is told.
func awayFromCutOver(now time.Time) (time.Duration, error) {
	zone, err := time.LoadLocation(zoneName)
	if err != nil {
		return 0, err
	}
	const near = 10 * time.Minute
	if soon := now.Add(near).In(zone); soon.Hour() == 3 && soon.Minute() < int(near/time.Minute) {
		return near, nil
	}
	return 0, nil
}

// tapvault runs the program and returns what it printed.
func (d *demo) tapvault(ctx context.Context, args ...string) (string, error) {
	var out, problems bytes.Buffer
	c := exec.CommandContext(ctx, d.bin, args...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(d.bin), args[0], err, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

func (d *demo) config() string { return filepath.Join(d.dir, "tapvault.yaml") }

func (d *demo) close() error {
	var errs []error
	if d.handset != nil {
		errs = append(errs, d.handset.Close())
	}
	if d.second != nil {
		errs = append(errs, d.second.Close())
	}
	if d.world != nil {
		errs = append(errs, d.world.close())
	}
	if d.service != nil {
		errs = append(errs, d.service.stop())
	}
	return errors.Join(errs...)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
