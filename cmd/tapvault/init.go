package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

//go:embed rehearsal.yaml
var rehearsalYAML string

// Labels of the two tokens of a rehearsal.
const (
	serviceToken = "tapvault"
	psamToken    = "tapsim-psam"
)

// devClients are the callers that a rehearsal registers.
var devClients = []identity.Client{
	{ID: "issuer", Name: "issuer backend", Role: access.Issuer, Requestor: "50110000001"},
	{ID: "terminal", Name: "readers of the rehearsal", Role: access.Terminal},
	{ID: "wallet", Name: "wallet server", Role: access.Wallet},
	{ID: "officer", Name: "security officer", Role: access.Officer},
	{ID: "operator", Name: "operator", Role: access.Operator},
	{ID: "auditor", Name: "auditor", Role: access.Auditor},
}

func (a *app) initCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a rehearsal: configuration, certificates, HSM token, keys, clients",
		Long: "Makes everything that `tapvault serve` needs in an empty folder: a configuration, TLS\n" +
			"certificates for localhost, a SoftHSM token with fresh rehearsal keys, a second token for the\n" +
			"simulator's reader, the database, and six registered clients with their private keys.\n" +
			"It never overwrites anything, and begins anew where an init was cut off. A rehearsal is not for production.",
		Args: cli.Exactly(1, "init DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.init(cmd.Context(), args[0], listen) },
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8443", "address that the service shall listen on")
	return c
}

func (a *app) init(ctx context.Context, name, listen string) error {
	dir, err := filepath.Abs(name)
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	release, err := claim(dir)
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	defer func() { _ = release() }() // a folder that was only read
	births, err := a.fill(ctx, dir, listen)
	if err != nil {
		return errors.Join(err, empty(dir))
	}
	if a.json {
		return a.print(map[string]any{"dir": dir, "config": filepath.Join(dir, configName), "keys": births})
	}
	told := fmt.Sprintf(`made a rehearsal in %[1]s
  tapvault.yaml     the configuration
  tls/              a certificate for localhost, and the CA to trust (ca.pem)
  softhsm/          token %[2]s with %[3]d keys, and %[4]s for the simulator's reader
  secrets/          the PINs of both
  ceremonies/       scripts, transcripts and printable pages of the ceremonies that made them
  clients/          private keys of %[5]s
  tapvault.db       the database; audit.log comes with the first request
nothing here is for production: one program played every officer

next:
  tapvault serve --config %[1]s/tapvault.yaml
`, name, serviceToken, births, psamToken, clientNames())
	_, err = io.WriteString(a.stdout, cli.Fit(told))
	return err
}

func clientNames() string {
	var names []string
	for _, c := range devClients {
		names = append(names, c.ID)
	}
	return strings.Join(names, ", ")
}

// fill makes the files and returns how many keys were born.
func (a *app) fill(ctx context.Context, dir, listen string) (int, error) {
	file, cfg, err := a.writeConfig(dir, listen) // first: it tells whose the rest is
	if err != nil {
		return 0, err
	}
	births, err := a.furnish(ctx, cfg, dir)
	if err != nil {
		return 0, errors.Join(err, file.Close()) // it is removed with the rest, as the last
	}
	if err := file.Commit(); err != nil { // last: whoever finds it finds the rest
		return 0, fmt.Errorf("writing configuration: %w", err)
	}
	return births, nil
}

// furnish makes what the configuration names.
func (a *app) furnish(ctx context.Context, cfg assembly.Config, dir string) (int, error) {
	for _, sub := range []string{"tls", "secrets", "clients", "softhsm"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return 0, fmt.Errorf("making folders: %w", err)
		}
	}
	if err := devCertificates(filepath.Join(dir, "tls"), time.Now()); err != nil {
		return 0, err
	}
	births, err := a.holdCeremonies(ctx, cfg, dir)
	if err != nil {
		return 0, err
	}
	return births, a.registerDevClients(ctx, cfg, dir)
}

// writeConfig writes a configuration that has not got its name yet.
func (a *app) writeConfig(dir, listen string) (file *durable.File, cfg assembly.Config, err error) {
	module, err := softhsmconfig.Module()
	if err != nil {
		return nil, cfg, withHint(fmt.Errorf("finding SoftHSM: %w", err), "apt-get install softhsm2, or make setup")
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, cfg, cli.Misusef("reading flags: --listen %s: must be host:port", listen)
	}
	var text strings.Builder
	t, err := template.New("config").Parse(rehearsalYAML)
	if err == nil {
		err = t.Execute(&text, map[string]string{"Listen": listen, "Port": port, "Module": module})
	}
	if err != nil {
		return nil, cfg, fmt.Errorf("writing configuration: %w", err)
	}
	if file, err = durable.Create(filepath.Join(dir, configName)); err != nil {
		return nil, cfg, fmt.Errorf("writing configuration: %w", err)
	}
	if _, err := file.WriteString(text.String()); err != nil {
		return nil, cfg, errors.Join(fmt.Errorf("writing configuration: %w", err), file.Discard())
	}
	a.config = file.Name()
	if cfg, err = a.loadConfig(); err != nil {
		return nil, cfg, errors.Join(err, file.Discard())
	}
	return file, cfg, nil
}

func (a *app) registerDevClients(ctx context.Context, cfg assembly.Config, dir string) (err error) {
	db, err := assembly.OpenStore(ctx, cfg, time.Now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	clients := clientdb.New(db, nil)
	for _, c := range devClients {
		private, public, err := newClientKey(c.ID)
		if err != nil {
			return fmt.Errorf("making the key of client %s: %w", c.ID, err)
		}
		if err := durable.Write(filepath.Join(dir, "clients", c.ID+".pem"), private); err != nil {
			return fmt.Errorf("writing client keys: %w", err)
		}
		c.JWK, c.Scopes = public, access.ForRole(c.Role)
		if err := clients.Add(ctx, c); err != nil {
			return fmt.Errorf("registering client %s: %w", c.ID, err)
		}
	}
	return nil
}
