package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/quorum"
)

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
	f.StringVar(&n.ID, "id", "", "client id: lower-case letters, digits, dots, hyphens, underscores")
	f.StringVar(&n.Name, "name", "", "name for people")
	f.StringVar(&role, "role", "", fmt.Sprintf("one of %v", access.Roles))
	f.StringVar(&scopes, "scopes", "", "what it may ask for, separated by commas; all of its role unless told, but for detokenize:direct, and for an issuer cards:replace")
	f.StringVar(&keyFile, "key-file", "", "public key or certificate as PEM, or a JSON Web Key; - is standard input; a private key is refused")
	f.StringVar(&encFile, "enc-key-file", "", "public key on P-256 to which answers are sealed, as PEM or a JSON Web Key; none unless told")
	f.StringVar(&n.Requestor, "requestor", "", "Token Requestor ID, 11 digits: no issuer asks for tokens without, and other roles see those of all")
	f.BoolVar(&n.Bound, "bound", false, "give it access tokens only that are bound to its TLS certificate")
	f.StringVar(&n.Terminal, "terminal", "", "terminal group: the name under which a terminal's host uploads and is paid; any unless told")
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
// numbers without evidence has to be given by name, and an issuer's right to put
// another card behind the tokens of all requestors.
func usualScopes(r access.Role) []access.Action {
	return slices.DeleteFunc(access.ForRole(r), func(a access.Action) bool {
		return a == access.DetokenizeDirect || r == access.Issuer && a == access.CardReplace
	})
}
