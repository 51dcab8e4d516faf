package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/cryptogram/conformance"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/softring"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/softtoken"
)

func (a *app) conformanceCommand() *cobra.Command {
	var vectors, module, token, pinFile, initArgs string
	var sm4 []uint
	c := &cobra.Command{
		Use:   "conformance",
		Short: "Is this HSM fit? Compute known vectors through it",
		Long: "Imports the test keys of a vector file as session objects, one import for each use, computes\n" +
			"every vector through the module and compares. On --module softhsm, which is the default, and nss\n" +
			"a scratch token is made and removed again; any other module is the path of a library, and wants\n" +
			"--token and --pin-file. Keys of SM4 are computed with in memory, and marked so, unless --sm4\n" +
			"says by which numbers of its vendor the module has it. At the end stands which mechanisms the token\n" +
			"lacks, what of the service that costs, and what to do next.",
		Args: cli.Exactly(0, "conformance --vectors FILE [--module softhsm|nss | --module SO --token LABEL --pin-file F [--init-args S]]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if vectors == "" {
				return cli.Misusef("reading flags: --vectors is needed")
			}
			cfg := hsm.Config{Module: module, Token: token, InitArgs: initArgs}
			if _, err := softtoken.Find(module); err == nil {
				if token != "" || pinFile != "" || initArgs != "" {
					return cli.Misusef("reading flags: --token, --pin-file and --init-args go with --module and the path of a library")
				}
			} else if token == "" || pinFile == "" {
				return cli.Misusef("reading flags: --module needs --token and --pin-file, unless it is one of %s", strings.Join(softtoken.Names(), ", "))
			} else {
				cfg.PIN = hsm.PINFile(pinFile)
			}
			if len(sm4) != 0 && (len(sm4) != 3 || module == "") {
				return cli.Misusef("reading flags: --sm4 takes three numbers and goes with --module")
			}
			if len(sm4) == 3 {
				cfg.SM4 = hsm.SM4{KeyType: sm4[0], Derive: sm4[1], CBC: sm4[2]}
			}
			return a.conformance(cmd.Context(), vectors, cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&vectors, "vectors", "", "vector file")
	f.StringVar(&module, "module", "", "softhsm, nss, or the path of a PKCS#11 library")
	f.StringVar(&token, "token", "", "label of the token")
	f.StringVar(&pinFile, "pin-file", "", "file with the user PIN on one line")
	f.StringVar(&initArgs, "init-args", "", "what the module wants when it is initialised")
	f.UintSliceVar(&sm4, "sm4", nil, "key type, derivation and CBC of SM4 on this module: three numbers with commas")
	return c
}

func (a *app) conformance(ctx context.Context, vectors string, cfg hsm.Config) (err error) {
	f, err := os.Open(vectors)
	if err != nil {
		return fmt.Errorf("reading vectors: %w", err)
	}
	defer f.Close()
	token, cfg, done, err := a.openForTest(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	ring, wipe, err := withSM4(token, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, wipe()) }()
	report, err := conformance.Run(ctx, ring, f)
	if err != nil && !errors.Is(err, conformance.ErrNothing) {
		return fmt.Errorf("running vectors: %w", err)
	}
	fit, lookErr := lookAtFitness(ctx, cfg, token)
	if lookErr != nil {
		return errors.Join(report.WriteTable(a.stderr), err, verdict(report), lookErr)
	}
	fit.count(report)
	return errors.Join(a.printReport(report, fit), err, verdict(report))
}

// withSM4 gives keys of SM4 a place where the module has none.
func withSM4(t *hsm.Token, cfg hsm.Config) (ring conformance.Ring, wipe func() error, err error) {
	if cfg.SM4.Set() {
		return t, func() error { return nil }, nil
	}
	sm4, err := softring.New()
	if err != nil {
		return nil, nil, err
	}
	return conformance.WithSM4(t, sm4), sm4.Close, nil
}

// verdict says what failed, so that the exit code does too.
func verdict(r conformance.Report) error {
	if r.Failed == 0 {
		return nil
	}
	return withHint(fmt.Errorf("comparing vectors: %d of %d failed", r.Failed, r.Failed+r.Passed),
		"this HSM is not fit for these functions")
}

func (a *app) printReport(r conformance.Report, fit fitness) error {
	if !a.json { // the table tells the failures, and what is lacking ends it
		return errors.Join(r.WriteTable(a.stdout), fit.write(a.stdout))
	}
	for _, f := range r.Told() {
		fmt.Fprintf(a.stderr, "tapvault: %s\n", f)
	}
	return a.print(struct {
		conformance.Report
		HSM fitness `json:"hsm"`
	}{r, fit})
}

// openForTest opens the token that cfg names, or a scratch one, which done
// removes, when it names a software HSM.
func (a *app) openForTest(ctx context.Context, cfg hsm.Config) (t *hsm.Token, opened hsm.Config, done func() error, err error) {
	remove := func() error { return nil }
	if soft, err := softtoken.Find(cfg.Module); err == nil {
		if cfg, remove, err = scratchToken(ctx, soft); err != nil {
			return nil, cfg, nil, errors.Join(err, remove())
		}
	}
	if t, err = hsm.Open(ctx, cfg); err != nil {
		return nil, cfg, nil, errors.Join(err, remove())
	}
	return t, cfg, func() error { return errors.Join(t.Close(), remove()) }, nil
}

// scratchToken makes a token in a folder that remove takes away.
func scratchToken(ctx context.Context, soft softtoken.Module) (cfg hsm.Config, remove func() error, err error) {
	remove = func() error { return nil }
	if _, err := soft.Path(); err != nil {
		return cfg, remove, withHint(fmt.Errorf("finding %s: %w", soft.Name, err), "scripts/setup.sh test installs what is missing")
	}
	dir, err := os.MkdirTemp("", "tapvault-scratch-")
	if err != nil {
		return cfg, remove, fmt.Errorf("making a scratch token: %w", err)
	}
	remove = func() error { return os.RemoveAll(dir) }
	cfg, err = soft.Scratch(ctx, dir, "scratch", newPIN())
	return cfg, remove, err
}
