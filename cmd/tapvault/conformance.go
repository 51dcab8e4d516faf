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
	"github.com/tapvault/tapvault/internal/softtoken"
)

func (a *app) conformanceCommand() *cobra.Command {
	var vectors, module, token, pinFile, initArgs string
	c := &cobra.Command{
		Use:   "conformance",
		Short: "Is this HSM fit? Compute known vectors through it",
		Long: "Imports the test keys of a vector file as session objects, one import for each use, computes\n" +
			"every vector through the module and compares. On --module softhsm, which is the default, and nss\n" +
			"a scratch token is made and removed again; any other module is the path of a library, and wants\n" +
			"--token and --pin-file.",
		Args: exactly(0, "conformance --vectors FILE [--module softhsm|nss | --module SO --token LABEL --pin-file F [--init-args S]]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if vectors == "" {
				return misused("reading flags: --vectors is needed")
			}
			cfg := hsm.Config{Module: module, Token: token, InitArgs: initArgs}
			if _, err := softtoken.Find(module); err == nil {
				if token != "" || pinFile != "" || initArgs != "" {
					return misused("reading flags: --token, --pin-file and --init-args go with --module and the path of a library")
				}
			} else if token == "" || pinFile == "" {
				return misused("reading flags: --module needs --token and --pin-file, unless it is one of %s", strings.Join(softtoken.Names(), ", "))
			} else {
				cfg.PIN = hsm.PINFile(pinFile)
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
	return c
}

func (a *app) conformance(ctx context.Context, vectors string, cfg hsm.Config) (err error) {
	f, err := os.Open(vectors)
	if err != nil {
		return fmt.Errorf("reading vectors: %w", err)
	}
	defer f.Close()
	token, done, err := a.openForTest(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	report, err := conformance.Run(ctx, token, f)
	if err != nil && !errors.Is(err, conformance.ErrNothing) {
		return fmt.Errorf("running vectors: %w", err)
	}
	return errors.Join(a.printReport(report), err, verdict(report))
}

// verdict says what failed, so that the exit code does too.
func verdict(r conformance.Report) error {
	if r.Failed == 0 {
		return nil
	}
	return withHint(fmt.Errorf("comparing vectors: %d of %d failed", r.Failed, r.Failed+r.Passed),
		"this HSM is not fit for these functions")
}

func (a *app) printReport(r conformance.Report) error {
	for _, f := range r.Failures {
		fmt.Fprintf(a.stderr, "tapvault: %s: %v\n", f.ID, f.Err)
	}
	if a.json {
		return a.print(r)
	}
	return r.WriteTable(a.stdout)
}

// openForTest opens the token that cfg names, or a scratch one, which done
// removes, when it names a software HSM.
func (a *app) openForTest(ctx context.Context, cfg hsm.Config) (t *hsm.Token, done func() error, err error) {
	remove := func() error { return nil }
	if soft, err := softtoken.Find(cfg.Module); err == nil {
		if cfg, remove, err = scratchToken(ctx, soft); err != nil {
			return nil, nil, errors.Join(err, remove())
		}
	}
	if t, err = hsm.Open(ctx, cfg); err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return t, func() error { return errors.Join(t.Close(), remove()) }, nil
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
