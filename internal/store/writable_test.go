package store_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/storetest"
)

// TestWritable: a server that takes no writes, of anybody or of this user, is
// known before one is tried; and what a server refuses is told in words.
func TestWritable(t *testing.T) {
	config := storetest.Postgres(t)
	cfg := config(t)
	writable := func(dsn string) error {
		d, err := store.Open(t.Context(), store.Config{DSN: dsn})
		if err != nil {
			return err
		}
		return errors.Join(d.Writable(t.Context()), d.Close())
	}
	with := func(name, value string) string {
		u, err := url.Parse(cfg.DSN)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	if err := writable(cfg.DSN); err != nil {
		t.Errorf("its owner: %v", err)
	}
	if err := writable(storetest.Path(t)); err != nil {
		t.Errorf("a file: %v", err)
	}
	for name, x := range map[string]struct {
		dsn, says string
		kind      error
	}{
		"read-only":           {with("default_transaction_read_only", "on"), "takes no writes", store.ErrReadOnly},
		"no schema to write":  {with("search_path", "nowhere"), "may make no tables", store.ErrReadOnly},
		"no such database":    {with("dbname", "nowhere"), "no such database", store.ErrUnavailable},
		"nobody of that name": {with("user", "nobody_here"), "postgres 28", store.ErrUnavailable},
		"no server":           {with("host", "/nowhere"), "/nowhere/", store.ErrUnavailable},
	} {
		err := writable(x.dsn)
		if !errors.Is(err, x.kind) || !strings.Contains(err.Error(), x.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", name, err, x.says)
		}
	}
}
