package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/internal/store"
)

func (a *app) clientCommand() *cobra.Command {
	return group("client", "Register callers, and log in as one",
		a.clientAddCommand(), a.clientListCommand(), a.clientKeyCommand(),
		a.clientSwitchCommand("disable", "Refuse a client; a running service does within 30 seconds", true),
		a.clientSwitchCommand("enable", "Believe a disabled client again", false),
		a.clientNewKeyCommand(), a.clientTokenCommand())
}

func (a *app) clientNewKeyCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "new-key ID",
		Short: "Make a caller's key pair, on the machine that will use it",
		Long: "Writes the private key to a new file that only its owner may read, and prints the public half,\n" +
			"which `tapvault client add` takes. It needs no configuration.",
		Args: cli.Exactly(1, "client new-key ID --out FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if out == "" {
				return cli.Misusef("reading flags: --out is needed")
			}
			private, public, err := newClientKey(args[0])
			if err != nil {
				return fmt.Errorf("making a key pair: %w", err)
			}
			if err := durable.Write(out, private); err != nil {
				return fmt.Errorf("writing the private key: %w", err)
			}
			_, err = fmt.Fprintf(a.stdout, "%s\n", public)
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "", "new file for the private key, PEM")
	return c
}

func (a *app) clientKeyCommand() *cobra.Command {
	var none bool
	c := &cobra.Command{
		Use:   "key ID [FILE]",
		Short: "Set or take away the public key to which a client's answers are sealed",
		Long: "The file holds a public key on P-256, as PEM or a JSON Web Key, or a certificate of one; - is\n" +
			"standard input. It is another key than the one the client signs with.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 || none == (len(args) == 2) {
				return cli.Misusef("usage: tapvault client key ID FILE, or tapvault client key ID --none")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var jwk []byte
			if !none {
				var err error
				if jwk, _, err = a.readPublicKey(args[1]); err != nil {
					return err
				}
			}
			return a.changeClient(cmd.Context(), args[0], "clients:key", func(db *clientdb.Store) error {
				if err := db.SetEncryptionKey(cmd.Context(), args[0], jwk); err != nil {
					return fmt.Errorf("changing the key of %s: %w", args[0], err)
				}
				if none {
					return a.say("took the encryption key of %s away", args[0])
				}
				return a.say("set the encryption key of %s", args[0])
			})
		},
	}
	c.Flags().BoolVar(&none, "none", false, "take the key away")
	return c
}

// clientSwitchCommand is disable, or its opposite.
func (a *app) clientSwitchCommand(verb, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " ID",
		Short: short,
		Args:  cli.Exactly(1, "client "+verb+" ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeClient(cmd.Context(), args[0], access.Action("clients:"+verb), func(db *clientdb.Store) error {
				if err := db.SetDisabled(cmd.Context(), args[0], disabled); err != nil {
					return fmt.Errorf("%sing %s: %w", strings.TrimSuffix(verb, "e"), args[0], err)
				}
				return a.say("%sd %s", verb, args[0])
			})
		},
	}
}

// withClients opens the register of clients for f.
func (a *app) withClients(ctx context.Context, f func(*clientdb.Store) error) error {
	return a.withRegister(ctx, func(_ assembly.Config, db *store.DB) error { return f(clientdb.New(db, nil)) })
}

// changeClient is withClients for what changes one, which is recorded first.
func (a *app) changeClient(ctx context.Context, id string, act access.Action, f func(*clientdb.Store) error) error {
	return a.withRegister(ctx, func(cfg assembly.Config, rows *store.DB) error {
		db := clientdb.New(rows, nil)
		if _, err := db.Client(ctx, id); err == nil { // what nobody is, f says
			if err := recordAct(ctx, cfg, act, id, ""); err != nil {
				return err
			}
		}
		return f(db)
	})
}

// withRegister is withClients for who needs more of the database.
func (a *app) withRegister(ctx context.Context, f func(assembly.Config, *store.DB) error) error {
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	db, err := assembly.OpenStore(ctx, cfg, time.Now)
	if err != nil {
		return err
	}
	return errors.Join(f(cfg, db), db.Close())
}
