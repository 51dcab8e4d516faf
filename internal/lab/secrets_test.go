package lab_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/hsm/hsmtest"
	"github.com/tapvault/tapvault/internal/lab"
	"github.com/tapvault/tapvault/internal/store"
)

// everyRow is a PostgreSQL database in text; bytes stand in it in hex.
func everyRow(t *testing.T, dsn string) string {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{DSN: dsn, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables, rows []string
	read := db.Read(t.Context())
	if err := read.Raw("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").Scan(&tables).Error; err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		var some []string
		if err := read.Raw(`SELECT t::text FROM "` + table + `" t`).Scan(&some).Error; err != nil {
			t.Fatal(err)
		}
		rows = append(rows, some...)
	}
	if len(tables) < 10 || len(rows) == 0 {
		t.Fatalf("%d tables with %d rows were read: there are more", len(tables), len(rows))
	}
	return strings.Join(rows, "\n")
}

// noSecrets searches everything that the service wrote or answered as a
// problem, and its files, for values that may not be there.
func noSecrets(t *testing.T, l *lab.Lab, marked ...string) {
	t.Helper()
	places := map[string]string{"the log": l.Logs.String(), "a problem": l.Wire.String()}
	files := []string{l.Config.Audit.File}
	if dsn := l.Config.Store.DSN; store.IsPostgres(dsn) {
		places[dsn] = everyRow(t, dsn)
	} else {
		files = append(files, dsn, dsn+"-wal")
	}
	for _, f := range files {
		b, err := os.ReadFile(l.Config.Path(f))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		places[f] = string(b)
	}
	for place, text := range places {
		flat := strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(text))
		for _, m := range marked {
			if strings.Contains(flat, strings.ToUpper(m)) || strings.Contains(flat, strings.ToUpper(hex.EncodeToString([]byte(m)))) {
				t.Errorf("%s holds a value that begins with %.2s", place, m)
			}
		}
		// The PIN of a test is short, so only a whole word counts.
		if place != l.Config.Store.DSN && bytes.Contains([]byte(text), []byte(`"`+hsmtest.PIN+`"`)) {
			t.Errorf("%s holds the PIN", place)
		}
	}
}
