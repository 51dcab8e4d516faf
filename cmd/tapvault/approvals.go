package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/quorum"
)

func (a *app) approvalsCommand() *cobra.Command {
	return group("approvals", "Ask for what one person must not do alone, and approve it",
		a.approvalsRequestCommand(), a.approvalsListCommand(),
		a.approvalCommand("show", "Show one, with who approved it", func(ctx context.Context, c *client.Client, id, _ string) (wire.Approval, error) {
			return c.Approval(ctx, id)
		}),
		a.approveCommand(),
		a.approvalCommand("cancel", "Take a request back", func(ctx context.Context, c *client.Client, id, _ string) (wire.Approval, error) {
			return c.CancelApproval(ctx, id)
		}))
}

// callerFlags say who calls the running service.
type callerFlags struct{ id, key, url, ca string }

func (f *callerFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.id, "id", "", "client id of who calls")
	c.Flags().StringVar(&f.key, "key", "", "file with its private key, PEM; clients/ID.pem beside the configuration unless told")
	c.Flags().StringVar(&f.url, "url", "", "where the service is; this machine, at the port of listen, unless told")
	c.Flags().StringVar(&f.ca, "ca", "", "certificate of the service's CA, PEM; tls/ca.pem beside the configuration unless told")
}

// caller is a client of the running service.
func (a *app) caller(f callerFlags) (*client.Client, error) {
	if f.id == "" {
		return nil, cli.Misusef("reading flags: --id is needed")
	}
	if err := a.localDefaults(f.id, &f.key, &f.url, &f.ca); err != nil {
		return nil, err
	}
	key, err := client.ReadKey(f.key)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{BaseURL: f.url, ClientID: f.id, Key: key, CAFile: f.ca})
}

func (a *app) approvalsRequestCommand() *cobra.Command {
	var f callerFlags
	var verb, path, body, file, reason string
	c := &cobra.Command{
		Use:   "request",
		Short: "Ask for others' approval of one exact request",
		Long: "A command that needs approval says, when it is refused, what to ask for. For settings, the body is\n" +
			"made of the configuration that --config names, which may be that of the next start.",
		Args: cli.Exactly(0, "approvals request --id ID --verb VERB [--path PATH] [--body JSON | --body-file FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quorum.Verb(verb) == quorum.DetokenizeBatch && body != "" {
				return cli.Misusef("reading flags: --body: a batch may name tokens by number, and arguments are seen by others: use --body-file")
			}
			api, err := a.caller(f)
			if err != nil {
				return err
			}
			q := wire.ApprovalRequest{Verb: verb, Method: "POST", Path: path, Body: body, Reason: reason}
			if path == "" {
				q.Path = usual[quorum.Verb(verb)]
			}
			if command, local := commands[quorum.Verb(verb)]; local {
				q.Method, q.Path = quorum.Run, command
			}
			if q.Body, err = a.askedBody(quorum.Verb(verb), body, file); err != nil {
				return err
			}
			got, err := api.RequestApproval(cmd.Context(), q)
			if err != nil {
				return fmt.Errorf("asking for approval: %w", err)
			}
			return a.printApproval(got)
		},
	}
	f.add(c)
	c.Flags().StringVar(&verb, "verb", "", "detokenize-batch, load-decision, vault-export, settings, client-creation or key-destruction")
	c.Flags().StringVar(&path, "path", "", "path of the operation over HTTP, where a verb has several")
	c.Flags().StringVar(&body, "body", "", "the request's body; of detokenize-batch in a file only")
	c.Flags().StringVar(&file, "body-file", "", "file with the request's body; - is standard input")
	c.Flags().StringVar(&reason, "reason", "", "for those who approve")
	return c
}

// usual is the path of a verb that is asked for over HTTP, unless told.
var usual = map[quorum.Verb]string{quorum.DetokenizeBatch: "/v1/detokenize/batch", quorum.LoadDecision: "/v1/loads/decisions"}

// commands are what is done at the machine.
var commands = map[quorum.Verb]string{quorum.VaultExport: "export", quorum.Settings: "serve", quorum.ClientCreation: "client add", quorum.KeyDestruction: "keys retire"}

func (a *app) askedBody(verb quorum.Verb, body, file string) (string, error) {
	switch {
	case verb == quorum.Settings && body == "" && file == "":
		cfg, err := a.loadConfig()
		if err != nil {
			return "", err
		}
		b, err := cfg.Guarded()
		return string(b), err
	case file == "-":
		b, err := io.ReadAll(io.LimitReader(a.stdin, 1<<20))
		return string(b), err
	case file != "":
		b, err := os.ReadFile(file)
		return string(b), err
	}
	return body, nil
}

func (a *app) approvalsListCommand() *cobra.Command {
	var f callerFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List requests, newest first",
		Args:  cli.Exactly(0, "approvals list --id ID"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := a.caller(f)
			if err != nil {
				return err
			}
			page, err := api.Approvals(cmd.Context(), "")
			if err != nil {
				return fmt.Errorf("listing approvals: %w", err)
			}
			if a.json {
				return a.print(page.Approvals)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tSTATE\tVERB\tASKED BY\tEXPIRES")
			for _, x := range page.Approvals {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", x.ID, x.State, x.Verb, x.Requester, x.ExpiresAt.Format(time.RFC3339))
			}
			return w.Flush()
		},
	}
	f.add(c)
	return c
}

// approveCommand names the digest that was looked at.
func (a *app) approveCommand() *cobra.Command {
	c := a.approvalCommand("approve", "Approve one, by the digest that `approvals show` prints", func(ctx context.Context, c *client.Client, id, digest string) (wire.Approval, error) {
		var d wire.Hex32
		if err := d.UnmarshalText([]byte(digest)); err != nil {
			return wire.Approval{}, cli.Misusef("reading flags: --digest must be 64 hex digits")
		}
		return c.Approve(ctx, id, d)
	})
	return c
}

func (a *app) approvalCommand(verb, short string, do func(ctx context.Context, c *client.Client, id, digest string) (wire.Approval, error)) *cobra.Command {
	var f callerFlags
	var digest string
	c := &cobra.Command{
		Use:   verb + " APPROVAL",
		Short: short,
		Args:  cli.Exactly(1, "approvals "+verb+" APPROVAL --id ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := a.caller(f)
			if err != nil {
				return err
			}
			got, err := do(cmd.Context(), api, args[0], digest)
			if err != nil {
				return fmt.Errorf("approvals %s: %w", verb, err)
			}
			return a.printApproval(got)
		},
	}
	f.add(c)
	if verb == "approve" {
		c.Flags().StringVar(&digest, "digest", "", "digest of the request that is meant")
	}
	return c
}

func (a *app) printApproval(x wire.Approval) error {
	if a.json {
		return a.print(x)
	}
	by := make([]string, len(x.Votes))
	for i, v := range x.Votes {
		by[i] = v.Approver
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "approval\t%s\nstate\t%s, %d of %d approved\t%s\n", x.ID, x.State, len(by), x.Needed, strings.Join(by, " "))
	fmt.Fprintf(w, "verb\t%s\nrequest\t%s %s\nwhat\t%s\nreason\t%s\nasked by\t%s\nexpires\t%s\ndigest\t%s\n", x.Verb, x.Method, x.Path, x.Summary, x.Reason,
		x.Requester, x.ExpiresAt.Format(time.RFC3339), hex.EncodeToString(x.Digest[:]))
	return w.Flush()
}

// approved lets a command through that needs no approval, or has one, which it
// uses up. what is the command's own account of what it will do.
func (a *app) approved(ctx context.Context, cfg assembly.Config, db *store.DB, verb quorum.Verb, act access.Action, what map[string]any) (err error) {
	if _, ruled := cfg.Quorum[string(verb)]; !ruled {
		return nil
	}
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	t, err := operations(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	s, err := assembly.Approvals(cfg, db, t, nil, time.Now, nil)
	if err != nil {
		return err
	}
	who := "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	err = s.Use(ctx, access.Caller{ID: "local:" + who, Role: access.Operator},
		quorum.Act{Verb: verb, Method: quorum.Run, Path: commands[verb], Body: body, Right: act})
	if errors.Is(err, quorum.ErrNeeded) {
		return withHint(err, fmt.Sprintf("ask with:\n  tapvault approvals request --id YOU --verb %s --body '%s'", verb, strings.ReplaceAll(string(body), "'", `'\''`)))
	}
	return err
}
