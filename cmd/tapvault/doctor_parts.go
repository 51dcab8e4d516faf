package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/store"
	softhsmconfig "github.com/tapvault/tapvault/softhsm-config"
)

// lookAtHSM logs in to each token, and looks at every key that the service needs.
func lookAtHSM(ctx context.Context, cfg assembly.Config) (found []finding) {
	for i, one := range cfg.EachToken() {
		part := "hsm"
		if len(cfg.HSM.Others) > 0 {
			part = fmt.Sprintf("hsm %d", i+1)
		}
		found = append(found, lookAtToken(ctx, part, one)...)
	}
	return found
}

// lookAtToken looks at the only token of a configuration.
func lookAtToken(ctx context.Context, part string, cfg assembly.Config) (found []finding) {
	module, pin := cfg.Path(cfg.HSM.Module), cfg.Path(cfg.HSM.PINFile)
	if _, err := os.Stat(module); err != nil {
		return []finding{badly(part, err, "install the module (SoftHSM: apt-get install softhsm2), or name its path in hsm.module")}
	}
	if conf := cfg.HSM.SoftHSMConf; conf != "" {
		if _, err := os.Stat(cfg.Path(conf)); err != nil {
			return []finding{badly(part, err, "name SoftHSM's configuration in hsm.softhsm_conf")}
		}
		if dir, err := softhsmconfig.Tokens(cfg.Path(conf)); err == nil && dir != "" { // SoftHSM says no more than a code
			if _, err := os.Stat(dir); err != nil {
				return []finding{badly(part, err, "tokens of SoftHSM are in the folder that directories.tokendir names in "+cfg.Path(conf)+
					": correct it there when the folder was moved, or put the tokens back")}
			}
		}
	}
	if lookAtSecret(part, "", pin) != nil || lookAtPIN(part, pin) != nil {
		return []finding{note(part, "mend the PIN file first", "it was not asked: a wrong PIN counts against the token")}
	}
	t, err := assembly.OpenHSM(ctx, cfg)
	if err != nil {
		return []finding{badly(part, err, mendToken(err, cfg))}
	}
	defer func() {
		if err := t.Close(); err != nil {
			found = append(found, badly(part, err, ""))
		}
	}()
	found = []finding{fine(part, "token %s answers, and takes the PIN", cfg.HSM.Token)}
	found = append(found, lookAtMechanisms(ctx, cfg, t)...)
	return append(found, lookAtKeys(ctx, cfg, t)...)
}

// lookAtMechanisms says which of those that the configuration needs are lacking.
func lookAtMechanisms(ctx context.Context, cfg assembly.Config, t *hsm.Token) (found []finding) {
	const part = "mechanisms"
	lacks, err := t.Lacks(ctx)
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	for _, l := range lacks {
		if needs(cfg, l) {
			found = append(found, bad(part, nextStep(cfg.Path(cfg.HSM.Module)), "token %s lacks %s, to %s; that costs: %s",
				cfg.HSM.Token, l.Mechanism, l.To, strings.Join(costs(l), "; ")))
		}
	}
	return found
}

// needs reports whether a service of cfg needs what is lacking.
func needs(cfg assembly.Config, l hsm.Lack) bool {
	switch l.Need {
	case hsm.ForElements:
		return cfg.Slots.ElementKeyVersion != 0
	case hsm.ForUse:
		return slices.ContainsFunc(cfg.Keys(), func(r keyref.Ref) bool { return slices.Contains(l.Usages, r.Usage) })
	}
	return false // keys are made by ceremonies, and not by the service
}

// mendToken says what to do about a token that cannot be used.
func mendToken(err error, cfg assembly.Config) string {
	module, conf := cfg.Path(cfg.HSM.Module), ""
	if errors.Is(err, hsm.ErrPIN) {
		return fmt.Sprintf("put the user PIN of this token into %s; every wrong try counts, so look twice", cfg.Path(cfg.HSM.PINFile))
	}
	if cfg.HSM.SoftHSMConf != "" {
		conf = "SOFTHSM2_CONF=" + cfg.Path(cfg.HSM.SoftHSMConf) + " "
	}
	return fmt.Sprintf("`%spkcs11-tool --module %s -L` shows what the module itself sees, as the user who runs the service", conf, module)
}

func lookAtKeys(ctx context.Context, cfg assembly.Config, t *hsm.Token) (found []finding) {
	const part = "keys"
	rows, problems, err := inspect(ctx, cfg, t)
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	unasked := 0
	for _, p := range problems {
		if _, lacks := hsm.LacksMechanism(p); lacks {
			unasked++ // the look at the mechanisms says it
			continue
		}
		found = append(found, badly(part, p, "`tapvault keys list` shows every key; a ceremony makes those that are missing"))
	}
	if unasked > 0 {
		found = append(found, bad(part, "mend the mechanisms first", "%d cannot be used for want of mechanisms", unasked))
	}
	if len(found) == 0 {
		found = append(found, fine(part, "all %d that the service needs are there, and fit", len(cfg.Keys())))
	}
	flagged, first := 0, ""
	for _, r := range rows {
		if r.Flag != "" {
			if flagged++; first == "" {
				first = r.Flag
			}
		}
	}
	if flagged > 0 {
		mend := "put the transcripts of all ceremonies into the folder of hsm.transcripts; keys made by `tapvault keys` in a rehearsal have none"
		if _, err := cfg.Shelf(time.Now).Register(); err != nil {
			first, mend = cli.Plain(err), "keep in the folder of hsm.transcripts what ceremonies left there, unchanged, and nothing else"
		}
		found = append(found, note(part, mend, "keys with a flag: %d of %d: %s", flagged, len(rows), first))
	}
	return found
}

// lookAtDatabase opens it for reading, and compares its schema with what this
// program knows.
func lookAtDatabase(ctx context.Context, cfg assembly.Config) (found []finding) {
	const part = "database"
	dsn := cfg.Store.DSN
	if !store.IsPostgres(dsn) {
		dsn = cfg.Path(dsn)
		if _, err := os.Stat(dsn); errors.Is(err, fs.ErrNotExist) {
			return newDatabase(dsn)
		}
	}
	db, err := store.Open(ctx, store.Config{DSN: dsn, ReadOnly: true})
	if err != nil {
		if errors.Is(err, store.ErrSchema) {
			return []finding{badly(part, err, "run the newer program, or the database's back-up")}
		}
		return []finding{badly(part, err, mendDatabase(dsn, err))}
	}
	defer func() {
		if err := db.Close(); err != nil {
			found = append(found, badly(part, err, ""))
		}
	}()
	have, know, err := db.Versions(ctx)
	switch {
	case err != nil:
		return []finding{badly(part, fmt.Errorf("reading its schema: %w", err), "")}
	case have == 0:
		found = []finding{note(part, "`tapvault migrate` makes its tables; `tapvault serve` does it too", "it answers, and is empty")}
	case have > know: // store.Open refuses one that this program cannot go on with
		found = []finding{fine(part, "it answers, with schema %d of a newer program, which this one may go on with", have)}
	case have < know && cfg.Store.ReadOnly:
		return []finding{bad(part, "bring its schema up to date with `tapvault migrate` and a configuration that may write", "its schema is %d, and this program needs %d", have, know)}
	case have < know:
		found = []finding{note(part, "`tapvault migrate` brings it up to date; `tapvault serve` does it too", "its schema is %d, and this program knows %d", have, know)}
	default:
		found = []finding{fine(part, "it answers, with schema %d, the newest", have)}
	}
	if !store.IsPostgres(dsn) {
		return append(lookAtDatabaseFile(ctx, cfg, db, dsn), found...)
	}
	return append(found, lookAtWrites(ctx, cfg)...)
}

// reading is how long the doctor reads a database's file to see whether it is whole.
const reading = 30 * time.Second

// lookAtDatabaseFile says when the file of a database that answers is damaged, takes no
// writes of this user, or is open to others.
func lookAtDatabaseFile(ctx context.Context, cfg assembly.Config, db *store.DB, path string) (found []finding) {
	const part = "database"
	bound, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	switch err := db.Sound(bound); {
	case err != nil && bound.Err() != nil && ctx.Err() == nil:
		found = append(found, note(part, "`sqlite3 FILE 'PRAGMA quick_check'` reads all of it", "it is large: not all of it was read"))
	case err != nil:
		found = append(found, badly(part, err, mendDatabase(path, err)))
	}
	if !cfg.Store.ReadOnly {
		if err := db.Writable(ctx); err != nil {
			found = append(found, badly(part, err, mendDatabase(path, err)))
		}
	}
	for _, f := range append(store.SideFiles(path), path) {
		if info, err := os.Stat(f); err == nil && info.Mode().Perm()&0o077 != 0 {
			found = append(found, note(part, "chmod 600 "+f, "%s is open to others (mode %03o)", f, info.Mode().Perm()))
		}
	}
	return found
}

// lookAtWrites says when a server that answers would take no writes.
func lookAtWrites(ctx context.Context, cfg assembly.Config) []finding {
	if cfg.Store.ReadOnly {
		return nil
	}
	const part = "database"
	db, err := store.Open(ctx, store.Config{DSN: cfg.Store.DSN})
	if err != nil {
		return []finding{badly(part, err, mendDatabase(cfg.Store.DSN, err))}
	}
	if err := errors.Join(db.Writable(ctx), db.Close()); err != nil {
		return []finding{badly(part, err, "name the server that takes writes (target_session_attrs=primary picks it), and make this user the owner of the database: ALTER DATABASE … OWNER TO …")}
	}
	return nil
}

// mendDatabase says what to do about one that cannot be opened.
func mendDatabase(dsn string, err error) string {
	if store.IsPostgres(dsn) {
		return "see that the server runs and lets this user in, and with sslmode=verify-full that sslrootcert names the CA of its certificate: " +
			"try the URL of store.dsn with `psql`, as the user who runs tapvault"
	}
	switch fault.KindOf(err) {
	case fault.StoreFull:
		return "make room on its disk, or raise store.max_bytes: the file is whole, and nothing was written in part"
	case fault.StoreReadOnly:
		return "chown it, what begins with its name, and its folder to the user who runs tapvault; chmod 600 the files"
	}
	return "name the database's file in store.dsn, or put a back-up in its place, and first move away what begins with its name (-wal, -shm)"
}

// newDatabase says of a file that is not there whether it could be made.
func newDatabase(file string) []finding {
	dir := filepath.Dir(file)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return []finding{bad("database", "make the folder, or name another file in store.dsn", "there is no folder %s", dir)}
	}
	return []finding{note("database", "`tapvault serve` makes it; register clients with `tapvault client add`", "there is no file %s yet", file)}
}

// lookAtTraces asks the collector, if there is one. The service does without.
func lookAtTraces(ctx context.Context, cfg assembly.Config) []finding {
	const part = "traces"
	if cfg.Traces.Endpoint == "" {
		return nil
	}
	if err := cfg.CheckCollector(ctx); err != nil {
		return []finding{note(part, "see traces.endpoint and traces.ca_file, and whether the collector takes OTLP over HTTP; the service runs without it", "%s", cli.Plain(err))}
	}
	return []finding{fine(part, "the collector takes them")}
}
