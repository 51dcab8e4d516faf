package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/hsm"
	tokens "github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/durable"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/quorum"
	"github.com/tapvault/tapvault/vault"
	"github.com/tapvault/tapvault/vault/archive"
)

// portFlags are what export and import are told.
type portFlags struct {
	file, passphrase string
	lost             int64 // of imports
}

func (a *app) portCommand(name, short, long string, do func(context.Context, portFlags) error) *cobra.Command {
	var f portFlags
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Long:  long,
		Args:  cli.Exactly(0, name+" --file FILE --passphrase-file FILE"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.file == "" || f.passphrase == "" {
				return cli.Misusef("reading flags: --file and --passphrase-file are needed")
			}
			return do(cmd.Context(), f)
		},
	}
	c.Flags().StringVar(&f.file, "file", "", "the export")
	c.Flags().StringVar(&f.passphrase, "passphrase-file", "", "file with the passphrase on one line, 16 characters or more; readable by its owner only")
	return c
}

func (a *app) exportCommand() *cobra.Command {
	return a.portCommand("export", "Write the whole vault into one sealed file, for disaster recovery",
		"Opens every card number in the HSM and seals it under a passphrase. The file holds the rows of\n"+
			"one moment, while the service runs on; it is read back and verified before it counts. Keep the\n"+
			"passphrase elsewhere: whoever has both has every card number.", a.export)
}

func (a *app) importCommand() *cobra.Command {
	var lost int64
	c := a.portCommand("import", "Put a sealed file into an empty database, under the keys of this HSM",
		"Verifies the whole file first, then stores all of it or nothing. The database must be migrated\n"+
			"or new, and empty; the HSM may be another one than that of the export.\n\n"+
			"If the service went on after the export, say with --lost how many tokens it can have\n"+
			"issued since, rather too many than too few: no number and no counter that may be on a\n"+
			"phone is then given out again, and what was not used yet counts as used. What is left to\n"+
			"do by hand, some of it before the service starts, is in docs/operations.md.", func(ctx context.Context, f portFlags) error {
			f.lost = lost
			return a.importFile(ctx, f)
		})
	c.Flags().Int64Var(&lost, "lost", 0, "how many tokens were issued after the export, at most")
	return c
}

// passphrase reads one line.
func (f portFlags) read() ([]byte, error) {
	info, err := os.Stat(f.passphrase)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("reading the passphrase: %s can be read by others: chmod 600 it", f.passphrase)
	}
	b, err := os.ReadFile(f.passphrase)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimRight(line, "\r"), nil
}

func (a *app) export(ctx context.Context, f portFlags) error {
	passphrase, err := f.read()
	if err != nil {
		return err
	}
	defer clear(passphrase)
	return a.withVault(ctx, func(o opened) error {
		a.lockMemory()
		total, err := o.vault.Porter().Count(ctx)
		if err != nil {
			return err
		}
		// What would fail anyway must not use an approval up.
		if err := archive.CheckPassphrase(passphrase); err != nil {
			return fmt.Errorf("writing the export: %w", err)
		}
		file, err := durable.Create(f.file)
		if err != nil {
			return taken(fmt.Errorf("writing the export: %w", err))
		}
		m, err := a.fillExport(ctx, o, f, file, passphrase, total)
		if err != nil {
			return errors.Join(err, file.Discard())
		}
		if err := file.Commit(); err != nil {
			return taken(fmt.Errorf("writing the export: %w", err))
		}
		return a.sayManifest("exported", m)
	})
}

// fillExport writes the export once somebody has approved it, and reads it back:
// it gets its name only after that.
func (a *app) fillExport(ctx context.Context, o opened, f portFlags, file *durable.File, passphrase []byte, total int64) (m vault.Manifest, err error) {
	if err := a.approved(ctx, o.cfg, o.db, quorum.VaultExport, "vault:export", map[string]any{"file": f.file}); err != nil {
		return m, err
	}
	if err := o.record(ctx, "vault:export", "vault", fmt.Sprintf("rows: %d", total)); err != nil {
		return m, err
	}
	made, err := a.writeExport(ctx, o, file, passphrase, total)
	if err != nil {
		return m, err
	}
	m, err = a.verifyExport(ctx, file.Name(), passphrase, made.Total())
	if err == nil && m.Digest != made.Digest {
		err = fmt.Errorf("reading the export back: %w", vault.ErrManifest)
	}
	return m, err
}

func taken(err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return withHint(err, "name another file: nothing is ever overwritten")
}

// writeExport writes a whole export to the disk.
func (a *app) writeExport(ctx context.Context, o opened, file *durable.File, passphrase []byte, total int64) (m vault.Manifest, err error) {
	out := bufio.NewWriterSize(file, 1<<20)
	w, err := archive.Create(out, passphrase, time.Now(), rand.Reader)
	if err != nil {
		return m, fmt.Errorf("writing the export: %w", err)
	}
	bar := a.newProgress("exporting", total)
	m, err = o.vault.Porter().Export(ctx, w, bar.At)
	bar.End()
	if err != nil {
		return m, err
	}
	return m, errors.Join(w.Close(), out.Flush(), file.Sync())
}

// verifyExport reads a whole export.
func (a *app) verifyExport(ctx context.Context, name string, passphrase []byte, total int64) (vault.Manifest, error) {
	file, err := os.Open(name)
	if err != nil {
		return vault.Manifest{}, fmt.Errorf("reading the export: %w", err)
	}
	defer file.Close()
	r, err := archive.Open(bufio.NewReaderSize(file, 1<<20), passphrase)
	if err != nil {
		return vault.Manifest{}, fmt.Errorf("reading the export: %w", err)
	}
	bar := a.newProgress("verifying", total)
	m, err := vault.Verify(ctx, r, bar.At)
	bar.End()
	if err != nil {
		return vault.Manifest{}, fmt.Errorf("reading the export: %w", err)
	}
	return m, nil
}

func (a *app) importFile(ctx context.Context, f portFlags) error {
	if f.lost < 0 {
		return cli.Misusef("reading flags: --lost is a number of tokens")
	}
	passphrase, err := f.read()
	if err != nil {
		return err
	}
	defer clear(passphrase)
	return a.withHSM(ctx, func(cfg assembly.Config, t *hsm.Token) (err error) {
		a.lockMemory()
		o := opened{cfg: cfg, hsm: t}
		if o.db, err = assembly.OpenStore(ctx, cfg, time.Now); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.db.Close()) }()
		if err := t.Require(ctx, vault.Keys(cfg.Vault.KeyVersions).Refs()...); err != nil {
			return err
		}
		m, err := a.verifyExport(ctx, f.file, passphrase, 0)
		if err != nil {
			return err
		}
		if err := o.record(ctx, "vault:import", "vault", fmt.Sprintf("rows: %d, lost: %d", m.Total(), f.lost)); err != nil {
			return err
		}
		return a.importRows(ctx, o, f, passphrase, m)
	})
}

func (a *app) importRows(ctx context.Context, o opened, f portFlags, passphrase []byte, m vault.Manifest) error {
	file, err := os.Open(f.file)
	if err != nil {
		return fmt.Errorf("reading the export: %w", err)
	}
	defer file.Close()
	again := func() (*archive.Reader, error) {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return archive.Open(bufio.NewReaderSize(file, 1<<20), passphrase)
	}
	bar := a.newProgress("importing", m.Total())
	into, err := assembly.VaultConfig(o.cfg, tokens.Of(o.hsm), o.db, time.Now)
	if err != nil {
		return err
	}
	err = vault.ImportLost(ctx, into, m, f.lost, again, bar.At)
	bar.End()
	if err != nil {
		return withHint(err, importHint(err))
	}
	return a.sayManifest("imported", m)
}

// importHint says what became of the rows. When the database goes away, or somebody
// stops the import, while the last of them are stored, nobody knows, and the next
// import finds out.
func importHint(err error) string {
	switch kind := fault.KindOf(err); {
	case errors.Is(err, vault.ErrNotEmpty):
		return "this import stored nothing; store.dsn must name a new or empty database; all rows are stored at once: " +
			"where an import was cut off and its rows are there, it was whole"
	case kind == fault.StoreFull:
		return "nothing was stored: make room on the disk of the database, and import again"
	case kind == fault.StoreDown, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "all rows are stored at once or none: import again, with the database there; if that finds rows, this one had stored them all"
	}
	return "nothing was stored; store.dsn must name a new or empty database"
}

func (a *app) sayManifest(did string, m vault.Manifest) error {
	if a.json {
		return a.print(m)
	}
	return a.say("%s and verified %d rows: %d cards, %d tokens\nSHA-256 of all rows: %s", did, m.Total(), m.Rows["cards"],
		m.Rows["tokens"], m.Digest)
}

// lockMemory keeps card numbers out of the swap, or says that it cannot.
func (a *app) lockMemory() {
	if err := lockAll(); err != nil {
		list, lerr := os.ReadFile("/proc/swaps")
		fmt.Fprint(a.stderr, unlocked(err, string(list), lerr))
	}
}

// unlocked says that memory could not be locked, unless it is known that there is no
// swap.
func unlocked(err error, swaps string, unknown error) string {
	if unknown == nil && swapFound(swaps)[0].State == stateOK {
		return ""
	}
	return fmt.Sprintf("tapvault: memory cannot be locked (%v): card numbers may reach the swap; raise ulimit -l or switch swap off\n", err)
}
