package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/quorum"
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

func (a *app) clientAddCommand() *cobra.Command {
	var n identity.Client
	var role, scopes, keyFile, encFile string
	c := &cobra.Command{
		Use:   "add",
		Short: "Register a client by its public key",
		Args:  cli.Exactly(0, "client add --id ID --role ROLE --key-file PUBLIC.pem"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n.ID == "" || role == "" || keyFile == "" {
				return cli.Misusef("reading flags: --id, --role and --key-file are needed")
			}
			files := keyFiles{}
			var err error
			if n.JWK, files.sign, err = a.readPublicKey(keyFile); err != nil {
				return err
			}
			if encFile != "" {
				if n.EncJWK, files.seal, err = a.readPublicKey(encFile); err != nil {
					return err
				}
			}
			n.Role, n.Scopes = access.Role(role), usualScopes(access.Role(role))
			if scopes != "" {
				n.Scopes = identity.ParseScope(strings.ReplaceAll(scopes, ",", " "))
			}
			return a.withRegister(cmd.Context(), func(cfg assembly.Config, rows *store.DB) error {
				if err := a.mayCreate(cmd.Context(), cfg, rows, n, files); err != nil {
					return fmt.Errorf("registering %s: %w", n.ID, err)
				}
				if err := recordAct(cmd.Context(), cfg, "clients:create", n.ID, "role "+string(n.Role)); err != nil {
					return err
				}
				if err := clientdb.New(rows, nil).Add(cmd.Context(), n); err != nil {
					return fmt.Errorf("registering %s: %w", n.ID, err)
				}
				return a.say("registered %s as %s", n.ID, n.Role)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&n.ID, "id", "", "client id: lower-case letters, digits, dots, hyphens")
	f.StringVar(&n.Name, "name", "", "name for people")
	f.StringVar(&role, "role", "", fmt.Sprintf("one of %v", access.Roles))
	f.StringVar(&scopes, "scopes", "", "what it may ask for, separated by commas; all of its role unless told, but for detokenize:direct")
	f.StringVar(&keyFile, "key-file", "", "public key or certificate as PEM, or a JSON Web Key; - is standard input; a private key is refused")
	f.StringVar(&encFile, "enc-key-file", "", "public key on P-256 to which answers are sealed, as PEM or a JSON Web Key; none unless told")
	f.StringVar(&n.Requestor, "requestor", "", "Token Requestor ID, 11 digits, for issuers")
	f.BoolVar(&n.Bound, "bound", false, "give it access tokens only that are bound to its TLS certificate")
	f.StringVar(&n.Terminal, "terminal", "", "terminal group, for terminals; all unless told")
	return c
}

// keyFiles are the texts of public keys as they were read: approvers compare their
// digests.
type keyFiles struct{ sign, seal []byte }

// readPublicKey reads a public key from a file, or from standard input, and returns
// it as a JSON Web Key, and the text itself.
func (a *app) readPublicKey(file string) (jwk, text []byte, err error) {
	in, name := a.stdin, "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, fmt.Errorf("reading public key: %w", err)
		}
		defer f.Close()
		in, name = f, file
	}
	if text, err = io.ReadAll(io.LimitReader(in, identity.MaxKeyText+1)); err != nil {
		return nil, nil, fmt.Errorf("reading public key: %w", err)
	}
	if jwk, err = identity.PublicJWK(text); err != nil {
		return nil, nil, fmt.Errorf("reading public key: %s: %w", name, err)
	}
	return jwk, text, nil
}

// mayCreate asks for approval of clients that could reach far.
func (a *app) mayCreate(ctx context.Context, cfg assembly.Config, db *store.DB, n identity.Client, files keyFiles) error {
	if err := n.Validate(); err != nil {
		return err
	}
	// What would fail anyway must not use an approval up.
	if _, err := clientdb.New(db, nil).Client(ctx, n.ID); err == nil {
		return identity.ErrExists
	}
	if !slices.ContainsFunc(n.Scopes, access.Wide) {
		return nil
	}
	return a.approved(ctx, cfg, db, quorum.ClientCreation, "clients:create", described(n, files))
}

// described is all of a client that is registered, as approvers see it.
func described(n identity.Client, files keyFiles) map[string]any {
	key := sha256.Sum256(files.sign)
	all := map[string]any{"id": n.ID, "role": n.Role, "scopes": n.Scopes, "requestor": n.Requestor, "terminal": n.Terminal, "bound": n.Bound,
		"key_file_sha256": hex.EncodeToString(key[:])}
	if n.Name != "" {
		all["name"] = n.Name
	}
	if len(files.seal) > 0 {
		enc := sha256.Sum256(files.seal)
		all["enc_key_file_sha256"] = hex.EncodeToString(enc[:])
	}
	return all
}

// usualScopes is what a client of a role gets unless told. The right to get card
// numbers without evidence has to be given by name.
func usualScopes(r access.Role) []access.Action {
	return slices.DeleteFunc(access.ForRole(r), func(a access.Action) bool { return a == access.DetokenizeDirect })
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

func (a *app) clientListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List registered clients",
		Args:  cli.Exactly(0, "client list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClients(cmd.Context(), func(db *clientdb.Store) error {
				all, err := db.List(cmd.Context())
				if err != nil {
					return fmt.Errorf("listing clients: %w", err)
				}
				return a.printClients(all)
			})
		},
	}
}

type clientRow struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Role      string `json:"role"`
	Scopes    string `json:"scopes"`
	Requestor string `json:"requestor,omitempty"`
	Terminal  string `json:"terminal,omitempty"`
	Disabled  bool   `json:"disabled"`
}

func (a *app) printClients(all []identity.Client) error {
	rows := make([]clientRow, 0, len(all))
	for _, c := range all {
		rows = append(rows, clientRow{c.ID, c.Name, string(c.Role), identity.Scope(c.Scopes), c.Requestor, c.Terminal, c.Disabled})
	}
	if a.json {
		return a.print(rows)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tROLE\tSTATE\tSCOPES (--json lists them)")
	for _, r := range rows {
		state := "enabled"
		if r.Disabled {
			state = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.ID, r.Role, state, ofRole(access.Role(r.Role), strings.Fields(r.Scopes)))
	}
	return w.Flush()
}

// ofRole says how many of a role's scopes a client has.
func ofRole(role access.Role, has []string) string {
	all := access.ForRole(role)
	var lacks []string
	for _, s := range all {
		if !slices.Contains(has, string(s)) {
			lacks = append(lacks, string(s))
		}
	}
	switch {
	case len(lacks) == 0:
		return "all of its role"
	case len(lacks) == 1:
		return "all of its role but " + lacks[0]
	}
	return fmt.Sprintf("%d of the %d of its role", len(all)-len(lacks), len(all))
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

func (a *app) clientTokenCommand() *cobra.Command {
	var id, key, url, ca, scope string
	c := &cobra.Command{
		Use:   "token",
		Short: "Log in as a client and print its access token",
		Long: "Signs an assertion with the client's private key, exchanges it at the running service and\n" +
			"prints the access token, for use with curl. The files of `tapvault init` are the defaults.",
		Args: cli.Exactly(0, "client token --id ID [--key FILE] [--url URL] [--ca FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return cli.Misusef("reading flags: --id is needed")
			}
			if err := a.localDefaults(id, &key, &url, &ca); err != nil {
				return err
			}
			token, err := login(cmd.Context(), client.Config{BaseURL: url, ClientID: id, CAFile: ca, Scope: scope}, key)
			if client.IsProblem(err, string(fault.Unauthenticated)) {
				err = withHint(err, "is "+id+" registered and enabled (`tapvault client list`), is --key its key, and --url identity.issuer_url?")
			}
			if err != nil {
				return fmt.Errorf("logging in as %s: %w", id, err)
			}
			if a.json {
				return a.print(map[string]string{"access_token": token})
			}
			_, err = fmt.Fprintln(a.stdout, token)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&id, "id", "", "client id")
	f.StringVar(&key, "key", "", "file with its private key, PEM")
	f.StringVar(&url, "url", "", "where the service is")
	f.StringVar(&ca, "ca", "", "certificate of the service's CA, PEM")
	f.StringVar(&scope, "scope", "", "scopes to ask for; all that it may have unless told")
	return c
}

func login(ctx context.Context, c client.Config, keyFile string) (string, error) {
	var err error
	if c.Key, err = client.ReadKey(keyFile); err != nil {
		return "", err
	}
	api, err := client.New(c)
	if err != nil {
		return "", err
	}
	return api.AccessToken(ctx)
}

// localDefaults fills what was not told from the configuration's folder. It
// reads no configuration when everything was told.
func (a *app) localDefaults(id string, key, url, ca *string) error {
	if *key != "" && *url != "" && *ca != "" {
		return nil
	}
	cfg, err := a.loadConfig()
	if err != nil {
		return err
	}
	if *key == "" {
		*key = cfg.Path(filepath.Join("clients", filepath.Base(id)+".pem"))
	}
	if *ca == "" {
		*ca = cfg.Path("tls/ca.pem")
	}
	if *url == "" {
		_, port, _ := net.SplitHostPort(cfg.Listen)
		*url = "https://localhost:" + port
	}
	return nil
}

// say reports something done: data for --json, a line otherwise.
func (a *app) say(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if a.json {
		return a.print(map[string]string{"done": text})
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}
