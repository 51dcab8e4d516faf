package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/api/wire"
	"github.com/tapvault/tapvault/internal/cli"
)

// maxTransaction bounds what is read of a transaction, in bytes.
const maxTransaction = 64 << 10

func (a *app) explainCommand() *cobra.Command {
	var id, key, url, ca, file string
	c := &cobra.Command{
		Use:   "explain",
		Short: "Why does an EMV card's cryptogram not hold? Ask the running service",
		Long: "Reads a transaction in the form of POST /v1/emv/explain, from a file or from standard input and\n" +
			"never from the command line, since it names a card, and prints how the service computed the\n" +
			"cryptogram and which known ways would have given the one that was sent. The client needs the\n" +
			"scope emv:explain. No key, value or computed cryptogram is printed.",
		Args: cli.Exactly(0, "explain --id ID [--file FILE] [--key FILE] [--url URL] [--ca FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return cli.Misusef("reading flags: --id is needed")
			}
			q, err := a.readTransaction(file)
			if err != nil {
				return err
			}
			if err := a.localDefaults(id, &key, &url, &ca); err != nil {
				return err
			}
			e, err := explain(cmd.Context(), client.Config{BaseURL: url, ClientID: id, CAFile: ca}, key, q)
			if err != nil {
				return fmt.Errorf("asking as %s: %w", id, err)
			}
			if a.json {
				return a.print(e)
			}
			return writeExplanation(a.stdout, e)
		},
	}
	f := c.Flags()
	f.StringVar(&id, "id", "", "client id")
	f.StringVar(&file, "file", "-", "the transaction, JSON; - is standard input")
	f.StringVar(&key, "key", "", "file with the client's private key, PEM; clients/ID.pem beside the configuration unless told")
	f.StringVar(&url, "url", "", "where the service is; this machine, at the port of listen, unless told")
	f.StringVar(&ca, "ca", "", "certificate of the service's CA, PEM; tls/ca.pem beside the configuration unless told")
	return c
}

// readTransaction reads and checks the body before anybody is asked. Its errors
// name fields and repeat nothing.
func (a *app) readTransaction(file string) (q wire.EMVTransaction, err error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return q, fmt.Errorf("reading transaction: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxTransaction+1))
	if err == nil && len(b) > maxTransaction {
		err = errors.New("it is too long")
	}
	if err == nil {
		err = wire.Decode(b, &q)
	}
	if err != nil {
		return q, fmt.Errorf("reading transaction: %w", err)
	}
	return q, nil
}

func explain(ctx context.Context, c client.Config, keyFile string, q wire.EMVTransaction) (e wire.EMVExplanation, err error) {
	if c.Key, err = client.ReadKey(keyFile); err != nil {
		return e, err
	}
	api, err := client.New(c)
	if err != nil {
		return e, err
	}
	return api.ExplainEMV(ctx, q)
}

// writeExplanation prints e for people, in lines of at most 80 columns.
func writeExplanation(w io.Writer, e wire.EMVExplanation) error {
	p := &lines{w: w}
	p.put("", "the cryptogram %s; %d ways were tried", map[bool]string{true: "holds", false: "does not hold"}[e.Holds], e.Tried)
	p.put("", "it was computed so:")
	p.method(e.Used)
	for _, r := range e.Remarks {
		p.put("  ", "! %s", strings.TrimSpace(r.Field+" "+r.Text))
	}
	switch {
	case len(e.Variants) > 0:
		p.put("", "it would have held so:")
	case !e.Holds:
		p.put("", "no known way gives this cryptogram: another key, or other data")
	}
	for i, v := range e.Variants {
		for _, c := range v.Changes {
			p.put("  ", "%d. %s: %s was used, %s holds. %s", i+1, c.What, c.Used, c.Held, c.Note)
		}
	}
	return p.err
}

// lines prints paragraphs.
type lines struct {
	w   io.Writer
	err error
}

// put prints a paragraph, broken between words; lines after its first are
// indented further.
func (p *lines) put(indent, format string, args ...any) {
	p.print(cli.Hang(indent, indent+"   ", fmt.Sprintf(format, args...)))
}

func (p *lines) print(line string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, line)
	}
}

func (p *lines) method(m wire.EMVMethod) {
	p.put("  ", "profile %s, key %s, card key by %s, session key by %s, sequence number %s", m.Profile, m.Key, m.Master, m.Session, m.PSN)
	p.put("  ", "%s over %d bytes, %d with padding (method %d):", m.Algorithm, m.Length, m.Padded, m.Padding)
	var fields []string
	for _, f := range m.Fields {
		text := fmt.Sprintf("%s(%d)", f.Name, f.Length)
		if f.Wants != "" {
			text += "!=" + f.Wants
		}
		fields = append(fields, text)
	}
	p.put("    ", "%s", strings.Join(fields, " "))
}
