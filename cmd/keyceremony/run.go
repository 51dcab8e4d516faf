package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/keyceremony/console"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/register"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
	"github.com/tapvault/tapvault/keyceremony/transcript"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// options are the flags of run and rehearse.
type options struct {
	out, keys, letters, module, initArgs, pinFile, transcripts, officers, softhsm string
	resume, yes                                                                   bool
}

func (a *app) runCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "run SCRIPT --out DIR",
		Short: "Hold a live ceremony at this terminal",
		Args:  cli.Exactly(1, "run SCRIPT --out DIR"),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.live(cmd.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.out, "out", "", "folder of the transcript; new, or that of the ceremony to resume")
	f.StringVar(&o.keys, "keys", "keys", "folder with the people's sealed keys, NAME.key")
	f.StringVar(&o.letters, "letters", "", "folder for letters, outside of OUT and best on a medium of its own")
	f.StringVar(&o.module, "module", "", "PKCS #11 library (default: SoftHSM's)")
	f.StringVar(&o.initArgs, "init-args", "", "reserved string of C_Initialize that some modules need")
	f.StringVar(&o.pinFile, "pin-file", "", "file with the user PIN, where the script names nobody who types it")
	f.StringVar(&o.softhsm, "softhsm-conf", "", "configuration file of SoftHSM")
	f.StringVar(&o.transcripts, "transcripts", "", "folder of all earlier transcripts: they say in which state a key is; needs --officers")
	f.StringVar(&o.officers, "officers", "", "file with the public key of every security officer, one a line: nobody else approves")
	f.BoolVar(&o.resume, "resume", false, "go on with a ceremony that was interrupted")
	return c
}

// host is what the record says of the place.
func host(locked string) map[string]string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return map[string]string{"host": name, "program": program(), "memory": locked}
}

// program is the name and version of this program, as they stand in a transcript.
func program() string {
	version, goVersion := cli.Version()
	return "keyceremony " + version + ", " + goVersion
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program, as transcripts hold it",
		Args:  cli.Exactly(0, "version"),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, program())
			return err
		},
	}
}

func (a *app) live(ctx context.Context, name string, o options) error {
	plan, err := readPlan(name)
	if err != nil {
		return err
	}
	if o.out == "" {
		return cli.Misusef("reading flags: --out names the folder of the ceremony")
	}
	if err := o.fit(plan); err != nil {
		return err
	}
	all, err := secret.Harden()
	if err != nil {
		return err
	}
	locked := "the pages that hold secrets are locked, core files are off"
	if all {
		locked = "all memory is locked, core files are off"
	}
	desk := &console.Console{In: a.stdin, Out: a.stdout, Keys: o.keys, Letters: o.letters}
	if err := desk.Open(); err != nil {
		return err
	}
	defer desk.Close()
	module, err := o.hsm()
	if err != nil {
		return err
	}
	c := engine.Config{Plan: plan, Dir: o.out, Desk: desk, Module: module, Live: true, Host: host(locked), Resume: o.resume, Now: time.Now}
	if c.States, err = o.states(plan); err != nil {
		return err
	}
	return a.hold(ctx, c)
}

// fit refuses before anybody has approved anything what would end the ceremony later, and
// letters where they would be copied with the transcript.
func (o options) fit(plan script.Plan) error {
	if plan.Script.PINs == nil {
		if o.pinFile == "" {
			return cli.Misusef("reading flags: nobody types the user PIN: --pin-file names a file with it, or the script names people under pins")
		}
		if err := hsm.PINFile(o.pinFile)(func([]byte) error { return nil }); err != nil {
			return err
		}
	}
	written := func(s script.Step) bool { return s.Op == script.OpLetter }
	if !slices.ContainsFunc(plan.Steps, written) || o.letters != "" && !within(o.letters, o.out) {
		return nil
	}
	return cli.Misusef("reading flags: --letters names a folder for the letters, outside of --out: the transcript is copied to every node, and each letter is for one person")
}

// within reports whether a path is a folder or lies in it.
func within(path, folder string) bool {
	p, err := filepath.Abs(path)
	f, err2 := filepath.Abs(folder)
	if errors.Join(err, err2) != nil {
		return true
	}
	rel, err := filepath.Rel(f, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// states are what earlier transcripts say of the token's keys. Whose approvals
// count in them, and in the ceremony to be held, is said by a list that neither
// the script nor a transcript can change.
func (o options) states(plan script.Plan) (map[string]script.State, error) {
	var trusted []string
	if o.officers != "" {
		text, err := os.ReadFile(o.officers)
		if err != nil {
			return nil, fmt.Errorf("reading the list of officers: %w", err)
		}
		if trusted, err = officer.ParseList(text); err != nil {
			return nil, fmt.Errorf("reading %s: %w", o.officers, err)
		}
		for _, p := range plan.Script.People {
			if p.Role == script.Officer && !slices.Contains(trusted, p.Key) {
				return nil, fmt.Errorf("%w: %s would approve, with a key that %s does not list: let the right person enrol, or the list be approved anew", engine.ErrApproval, p.Name, o.officers)
			}
		}
	}
	if o.transcripts == "" {
		return nil, nil
	}
	if trusted == nil {
		return nil, cli.Misusef("reading flags: --transcripts counts what officers approved: --officers names their list")
	}
	kept, err := register.Load(o.transcripts, register.Trust{Officers: trusted})
	return kept.States(plan.Script.Token), err
}

// hsm is the module of a live ceremony.
func (o options) hsm() (engine.HSM, error) {
	c := hsm.Config{Module: o.module, InitArgs: o.initArgs, PIN: func(func(pin []byte) error) error {
		return errors.New("nobody types the user PIN: the script names them under pins, or give --pin-file")
	}}
	if o.pinFile != "" {
		c.PIN = hsm.PINFile(o.pinFile)
	}
	if o.softhsm != "" {
		if err := softhsmconfig.Use(o.softhsm); err != nil {
			return engine.HSM{}, err
		}
	}
	if o.module == "" {
		m, err := softhsmconfig.Module()
		if err != nil {
			return engine.HSM{}, err
		}
		c.Module = m
	}
	return engine.HSM{Config: c}, nil
}

// begun reports whether a ceremony that ended with err left a transcript to go on
// with: not when it was refused before it began, nor when the one there is of another.
func begun(c engine.Config, err error) bool {
	_, absent := os.Stat(filepath.Join(c.Dir, engine.TranscriptFile))
	return absent == nil && !errors.Is(err, transcript.ErrExists) && !errors.Is(err, script.ErrScript)
}

func (a *app) hold(ctx context.Context, c engine.Config) error {
	digest, err := engine.Run(ctx, c)
	if err != nil && begun(c, err) {
		return errors.Join(err, fmt.Errorf("nothing is lost: go on with --resume --out %s, which takes a key that is whole, and destroys and makes anew one that is not", c.Dir))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nThe ceremony is over. Digest of its transcript:\n%s\n%s\nfor the binder: %s\n", digest,
		filepath.Join(c.Dir, engine.TranscriptFile), filepath.Join(c.Dir, engine.PageFile))
	return nil
}
