package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/store"
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
	module := cfg.Path(cfg.HSM.Module)
	if _, err := os.Stat(module); err != nil {
		return []finding{bad(part, "install the module (SoftHSM: apt-get install softhsm2), or name its path in hsm.module", "%v", err)}
	}
	t, err := assembly.OpenHSM(ctx, cfg)
	if err != nil {
		return []finding{badly(part, err, "see hsm.module, hsm.token and hsm.pin_file")}
	}
	defer func() {
		if err := t.Close(); err != nil {
			found = append(found, badly(part, err, ""))
		}
	}()
	found = []finding{fine(part, "token %s answers, and takes the PIN", cfg.HSM.Token)}
	return append(found, lookAtKeys(ctx, cfg, t)...)
}

func lookAtKeys(ctx context.Context, cfg assembly.Config, t *hsm.Token) (found []finding) {
	const part = "keys"
	rows, problems, err := inspect(ctx, cfg, t)
	if err != nil {
		return []finding{badly(part, err, "")}
	}
	for _, p := range problems {
		found = append(found, badly(part, p, "`tapvault keys list` shows every key; a ceremony makes those that are missing"))
	}
	if len(found) == 0 {
		found = append(found, fine(part, "all %d that the service needs are there, and fit", len(cfg.Keys())))
	}
	flagged := 0
	for _, r := range rows {
		if r.Flag != "" {
			flagged++
		}
	}
	if flagged > 0 {
		found = append(found, note(part, "put the transcripts of all ceremonies into the folder of hsm.transcripts", "%d of %d have no ceremony on record", flagged, len(rows)))
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
		return []finding{badly(part, err, "see store.dsn: does the server run, and may this user log in?")}
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
	case have > know: // store.Open refuses one that this program cannot go on with
		return []finding{fine(part, "it answers, with schema %d of a newer program, which this one may go on with", have)}
	case have < know && cfg.Store.ReadOnly:
		return []finding{bad(part, "bring its schema up to date with `tapvault migrate` and a configuration that may write", "its schema is %d, and this program needs %d", have, know)}
	case have < know:
		return []finding{note(part, "`tapvault migrate` brings it up to date; `tapvault serve` does it too", "its schema is %d, and this program knows %d", have, know)}
	}
	return []finding{fine(part, "it answers, with schema %d, the newest", have)}
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
		return []finding{note(part, "see traces.endpoint and traces.ca_file, and whether the collector takes OTLP over HTTP; the service runs without it", "%v", err)}
	}
	return []finding{fine(part, "the collector takes them")}
}
