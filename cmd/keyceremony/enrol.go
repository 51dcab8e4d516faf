package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/keyceremony/console"
	"github.com/tapvault/tapvault/keyceremony/engine"
	"github.com/tapvault/tapvault/keyceremony/officer"
	"github.com/tapvault/tapvault/keyceremony/script"
	"github.com/tapvault/tapvault/keyceremony/secret"
)

func (a *app) enrolCommand() *cobra.Command {
	var o options
	var token string
	c := &cobra.Command{
		Use:   "enrol NAME --keys DIR",
		Short: "Make a person's signing key, sealed under their passphrase or on their own token",
		Long: "The key is in a file under a passphrase. With --token it is made on that PKCS #11 token, which is\n" +
			"the person's own, and never leaves it; NAME.key then says where it is. The PIN is asked for.",
		Args: cli.Exactly(1, "enrol NAME --keys DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := free(o.keys, args[0]); err != nil {
				return err
			}
			if token != "" {
				return a.enrolToken(cmd.Context(), args[0], token, o)
			}
			return a.enrol(cmd.Context(), args[0], o.keys)
		},
	}
	f := c.Flags()
	f.StringVar(&o.keys, "keys", "keys", "folder for the key, NAME.key")
	f.StringVar(&token, "token", "", "label of the person's own token")
	f.StringVar(&o.module, "module", "", "PKCS #11 library of that token (default: SoftHSM's)")
	f.StringVar(&o.initArgs, "init-args", "", "reserved string of C_Initialize that some modules need")
	f.StringVar(&o.softhsm, "softhsm-conf", "", "configuration file of SoftHSM")
	return c
}

// free refuses, before anybody types anything, a name that no script takes and one that
// has a key.
func free(dir, name string) error {
	if err := script.Name(name); err != nil {
		return cli.Misusef("reading arguments: %w", err)
	}
	file := filepath.Join(dir, name+".key")
	switch _, err := os.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("writing the key: %w", err)
	}
	return fmt.Errorf("writing the key: %s exists already: a key is never overwritten; name another folder with --keys", file)
}

// enrolToken makes a person's key on a token of their own.
func (a *app) enrolToken(ctx context.Context, name, token string, o options) error {
	if _, err := secret.Harden(); err != nil {
		return err
	}
	desk := &console.Console{In: a.stdin, Out: a.stdout}
	if err := desk.Open(); err != nil {
		return err
	}
	defer desk.Close()
	m, err := o.hsm()
	if err != nil {
		return err
	}
	pin, err := desk.PIN(ctx, name, token)
	if err != nil {
		return err
	}
	defer pin.Wipe()
	card := officer.Card{Name: name, Module: m.Config.Module, InitArgs: o.initArgs, Token: token}
	if card.Public, err = engine.Enrol(ctx, card, pin.Bytes()); err != nil {
		return err
	}
	text, err := card.Text()
	if err != nil {
		return err
	}
	return a.enrolled(o.keys, name, card.Public, text)
}

func (a *app) enrol(ctx context.Context, name, dir string) error {
	if _, err := secret.Harden(); err != nil {
		return err
	}
	desk := &console.Console{In: a.stdin, Out: a.stdout}
	if err := desk.Open(); err != nil {
		return err
	}
	defer desk.Close()
	pass, err := desk.Passphrase(ctx, name)
	if err != nil {
		return err
	}
	defer pass.Wipe()
	k, err := officer.New(rand.Reader)
	if err != nil {
		return err
	}
	defer k.Wipe()
	text, err := k.Seal(rand.Reader, name, pass.Bytes())
	if err != nil {
		return err
	}
	return a.enrolled(dir, name, k.Public().String(), text)
}

// enrolled writes a person's key, never over another, and says what goes into
// scripts.
func (a *app) enrolled(dir, name, public string, text []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	file := filepath.Join(dir, name+".key")
	if err := durable.Write(file, text); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	fmt.Fprintf(a.stdout, "%s is written. For the script:\n  - {name: %s, role: ...,\n     key: \"%s\"}\n", file, name, public)
	return nil
}
