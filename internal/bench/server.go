package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tapvault/tapvault/internal/store"
	"github.com/tapvault/tapvault/internal/store/cluster"
)

// server is a kind of database to measure on, in a scratch folder, with commits
// that wait for the disk.
type server struct {
	name    string
	driver  string // of database/sql
	options string // what bare connections need in the DSN, to be as durable as the service's
	writers int    // connections for bare writing
	mark    func(n int) string
	fresh   func(ctx context.Context) (dsn string, err error)
	close   func() error
}

// open opens a database past every package of ours.
func (s *server) open(dsn string) (*sql.DB, error) {
	db, err := sql.Open(s.driver, dsn+s.options)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(s.writers)
	return db, nil
}

// migrated returns a new database with the service's tables.
func (s *server) migrated(ctx context.Context) (*store.DB, string, error) {
	dsn, err := s.fresh(ctx)
	if err != nil {
		return nil, "", err
	}
	db, err := store.Open(ctx, store.Config{DSN: dsn})
	if err != nil {
		return nil, "", err
	}
	if err := db.Migrate(ctx); err != nil {
		return nil, "", errors.Join(err, db.Close())
	}
	return db, dsn, nil
}

// sqliteServer is a folder of SQLite files, each written through one
// connection: more would only wait for each other.
func sqliteServer() (*server, error) {
	dir, err := os.MkdirTemp("", "tapvault-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	n := 0
	return &server{name: "SQLite", driver: "sqlite3", options: "?_synchronous=FULL&_foreign_keys=on", writers: 1,
		mark: func(int) string { return "?" },
		fresh: func(context.Context) (string, error) {
			n++
			return filepath.Join(dir, fmt.Sprintf("%d.db", n)), nil
		},
		close: func() error { return os.RemoveAll(dir) },
	}, nil
}

// postgresServer is a private PostgreSQL server.
func postgresServer(ctx context.Context) (*server, error) {
	c, err := cluster.Start(ctx, cluster.Options{Durable: true})
	if err != nil {
		return nil, err
	}
	return &server{name: "PostgreSQL", driver: "pgx", writers: crowd,
		mark:  func(n int) string { return fmt.Sprintf("$%d", n) },
		fresh: c.Database, close: c.Stop,
	}, nil
}

// onServers measures on both kinds of database. The result is that of the one
// with the lower ratio, with both beside it.
func onServers(ctx context.Context, measure func(context.Context, *server) (Result, error)) (Result, error) {
	var all []Result
	for _, begin := range []func() (*server, error){sqliteServer, func() (*server, error) { return postgresServer(ctx) }} {
		s, err := begin()
		if err != nil {
			return Result{}, err
		}
		r, err := measure(ctx, s)
		if err = errors.Join(err, s.close()); err != nil {
			return Result{}, fmt.Errorf("measuring on %s: %w", s.name, err)
		}
		r.Store, r.Callers = s.name, crowd
		all = append(all, r)
	}
	worst := all[0]
	if all[1].Ratio < worst.Ratio {
		worst = all[1]
	}
	worst.Parts = all
	return worst, nil
}
