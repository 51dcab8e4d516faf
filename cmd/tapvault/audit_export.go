package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/audit/trail"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
)

// exportFlags are what an export of the record is told.
type exportFlags struct {
	filter      trail.Filter
	from, until string
	out         string
	signed      string
	keys        string
}

func (a *app) auditExportCommand() *cobra.Command {
	var f exportFlags
	c := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Give entries of a record that verifies, as JSON lines",
		Long: `Give entries of the audit record as JSON lines, after the whole record was verified as
"audit verify" does. Each line is as it was hashed: its leaf in the Merkle tree is that of
/v1/audit/inclusion, for the line that "seq" names. On standard output they are JSON
lines with --json too, and not one document.

  tapvault audit export --action detokenize:direct --from 2026-05-01`,
		Args: atMostOne("audit export [FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.times(); err != nil {
				return err
			}
			file, err := a.auditFile(args)
			if err != nil {
				return err
			}
			if err := a.exportAudit(cmd.Context(), file, f); err != nil {
				return brokenHint(fmt.Errorf("exporting %s: %w", file, err))
			}
			return nil
		},
	}
	proofFlags(c, &f.signed, &f.keys)
	for _, x := range []struct {
		to         *string
		name, what string
	}{
		{&f.from, "from", "entries from this time on: 2026-05-20 (UTC) or 2026-05-20T03:00:00+08:00"},
		{&f.until, "until", "entries before this time"},
		{&f.filter.Caller, "caller", "entries of one caller"},
		{&f.filter.Action, "action", "entries of one action"},
		{&f.filter.Object, "object", "entries about one object, a token's reference for example"},
		{&f.filter.Outcome, "outcome", "entries with one outcome: allowed, refused"},
		{&f.filter.Request, "request", "entries of one request, by its X-Request-Id"},
		{&f.out, "out", "a new file to write; standard output unless told"},
	} {
		c.Flags().StringVar(x.to, x.name, "", x.what)
	}
	return c
}

func (f *exportFlags) times() error {
	for _, x := range []struct {
		name, text string
		to         *time.Time
	}{{"from", f.from, &f.filter.From}, {"until", f.until, &f.filter.Until}} {
		if x.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, x.text)
		if err != nil {
			at, err = time.Parse(time.DateOnly, x.text)
		}
		if err != nil {
			return cli.Misusef("reading flags: --%s is neither a day nor a time: write 2026-05-20 or 2026-05-20T03:00:00Z", x.name)
		}
		*x.to = at
	}
	return nil
}

func (a *app) exportAudit(ctx context.Context, file string, f exportFlags) error {
	found, err := a.verifyAudit(ctx, file, f.signed, f.keys)
	if err != nil {
		return err
	}
	good := trail.Summary{Lines: found.Lines, Last: found.Last}
	if f.out == "" {
		n, err := writeLines(a.stdout, file, good, f.filter)
		if err == nil { // what a wrong name of an action leaves must not look like an empty month
			_, err = fmt.Fprintf(a.stderr, "tapvault: %d of %d entries of %s, which verifies\n", n, found.Lines, file)
		}
		return err
	}
	n, err := writeFile(f.out, file, good, f.filter)
	if err != nil {
		return err
	}
	return a.say("%s: %d of %d entries of %s, which verifies", f.out, n, found.Lines, file)
}

// writeFile makes a new file of the chosen lines, whole or not at all.
func writeFile(name, file string, good trail.Summary, f trail.Filter) (n int, err error) {
	out, err := durable.Create(name)
	if err != nil {
		return 0, err
	}
	if n, err = writeLines(out, file, good, f); err != nil {
		return n, errors.Join(err, out.Discard()) // half an export looks like a whole one
	}
	return n, out.Commit()
}

func writeLines(to io.Writer, file string, good trail.Summary, f trail.Filter) (n int, err error) {
	w := bufio.NewWriter(to)
	err = trail.Select(file, good, f, func(line []byte) error {
		n++
		_, err := w.Write(line)
		return errors.Join(err, w.WriteByte('\n'))
	})
	return n, errors.Join(err, w.Flush())
}
