package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/fault"
)

func (a *app) clientTokenCommand() *cobra.Command {
	var id, key, url, ca, scope string
	c := &cobra.Command{
		Use:   "token",
		Short: "Log in as a client and print its access token",
		Long: "Signs an assertion with the client's private key, exchanges it at the running service and\n" +
			"prints the access token, for use with curl. It needs no configuration where --key, --url and --ca are given.",
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
			if errors.Is(err, fs.ErrNotExist) {
				err = withHint(err, "--key names the file with the private key, which the client itself keeps, and --ca that of the service's CA")
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
	f.StringVar(&key, "key", "", "file with its private key, PEM; clients/ID.pem beside the configuration unless told")
	f.StringVar(&url, "url", "", "where the service is; this machine, at the port of listen, unless told")
	f.StringVar(&ca, "ca", "", "certificate of the service's CA, PEM; tls/ca.pem beside the configuration unless told")
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
	if errors.Is(err, fs.ErrNotExist) { // as at a caller's own machine
		return withHint(err, "call it in the folder of tapvault.yaml, or name that with --config; where there is none, --key, --url and --ca are all needed")
	}
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
