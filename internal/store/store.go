// Package store opens the database that every domain keeps its rows in, and
// turns what goes wrong there into the few errors the service knows.
//
// There are two kinds. The embedded one is one SQLite file in WAL mode,
// synchronous FULL: all writes go through one connection, so they queue in this
// process instead of failing on each other's locks, and those that wait share
// a commit. The other is PostgreSQL, for more than one process: commits are
// shared there too, and transactions are serializable and are run again when the
// server asks for it. With both, a transaction that committed survives a power cut, and reads have a
// pool of their own that cannot write.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/trace"
)

// Errors. Their texts hold driver codes at most, never SQL and never a value.
var (
	ErrReadOnly    = fault.New(fault.StoreReadOnly, "the database cannot be written")
	ErrFull        = fault.New(fault.StoreFull, "the database is full")
	ErrUnavailable = fault.New(fault.StoreDown, "the database is not available")
	ErrKeyReused   = fault.New(fault.KeyReused, "this idempotency key was used for another request")
	// ErrSchema reports a database from which a newer release has taken what this
	// program needs.
	ErrSchema = fault.New(fault.StoreDown, "the database schema is too new for this program")
)

// Config says which database to open.
type Config struct {
	// DSN is the path of an SQLite file, which is created with mode 0600 if it
	// does not exist, or a URL that begins with postgres:// for a database that
	// exists.
	DSN      string
	MaxBytes int64 // SQLite: cap on the size of the file, so that it never takes the last of a disk; 0: none
	ReadOnly bool  // for inspection: every write fails with ErrReadOnly
	Readers  int   // connections for reading; 0: 4, with PostgreSQL 8
	// Writers is the number of connections for writing, with PostgreSQL. 0: 1,
	// which is fastest for many callers: fewer share each commit of more, and
	// serializable transactions at the same time break each other off.
	Writers     int
	BusyTimeout time.Duration    // how long to stand back for other writers, with PostgreSQL for some runs at least; 0: 5 s
	Now         func() time.Time // 0: time.Now
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	engine  engine
	sources sources
}

// engine is what the two kinds of database do differently.
type engine interface {
	// transact is [DB.Tx].
	transact(ctx context.Context, fn func(tx *gorm.DB) error) error
	// reader is a handle that cannot write.
	reader() *gorm.DB
	// migrating opens a pool that may change the schema; its taker closes it.
	migrating() (goose.Dialect, *sql.DB)
	// findTable is a question that counts the tables of a name.
	findTable() string
	// clock is a question for the time in milliseconds; empty: this machine's is the
	// only one.
	clock() string
	// present fails when the database that was opened is not the one that would
	// be found again.
	present() error
	close() error
}

// IsPostgres reports whether a DSN names a PostgreSQL database rather than a
// file.
func IsPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Open opens the database and refuses one whose schema is too new. It does not
// migrate: see [DB.Migrate].
func Open(ctx context.Context, cfg Config) (*DB, error) { return open(ctx, cfg, embedded()) }

func open(ctx context.Context, cfg Config, s sources) (*DB, error) {
	begin := openSQLite
	if IsPostgres(cfg.DSN) {
		begin = openPostgres
	}
	e, err := begin(ctx, cfg.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", mapError(err))
	}
	d := &DB{e, s}
	if err := d.checkSchema(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), d.Close())
	}
	return d, nil
}

func (c Config) withDefaults() Config {
	if c.Readers <= 0 {
		c.Readers = 4
		if IsPostgres(c.DSN) {
			c.Readers = 8
		}
	}
	if c.Writers <= 0 {
		c.Writers = 1
	}
	if c.BusyTimeout <= 0 {
		c.BusyTimeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// limit sets how many connections a pool has, all of them kept.
func limit(p *sql.DB, size int) *sql.DB {
	p.SetMaxOpenConns(size)
	p.SetMaxIdleConns(size)
	return p
}

// handle wraps a dialector for statements of gorm.
func handle(d gorm.Dialector, cfg Config, prepare bool) (*gorm.DB, error) {
	db, err := gorm.Open(d, &gorm.Config{
		SkipDefaultTransaction: true,
		PrepareStmt:            prepare,
		TranslateError:         true,
		// A statement that names its columns goes on when a newer release adds one.
		QueryFields: true,
		// gorm's logger would print statements with their values.
		Logger:               logger.Discard,
		NowFunc:              cfg.Now,
		DisableAutomaticPing: true,
	})
	if err != nil {
		return nil, err
	}
	// gorm translates the errors of everything but Raw and Rows.
	return db, db.Callback().Row().After("gorm:row").Register("store:errors", func(tx *gorm.DB) { tx.Error = mapError(tx.Error) })
}

// Close waits for nothing: callers end their work first.
func (d *DB) Close() error { return d.engine.close() }

// Tx runs fn in one transaction. When Tx returns nil, what fn wrote is durable;
// when fn or the commit fails, nothing of it is kept, with one exception that
// callers must allow for: a commit that failed may still have happened.
//
// fn may be run again from the start, after everything that it wrote was undone:
// it must leave nothing but rows behind that a second run would mind.
//
// ctx bounds the wait for a turn to write. A transaction that has begun is run
// to its end, so that a caller who goes away never leaves the question open.
func (d *DB) Tx(ctx context.Context, fn func(tx *gorm.DB) error) error {
	ctx, span := trace.Start(ctx, trace.Transaction)
	if !span.On() {
		return d.engine.transact(ctx, fn)
	}
	err := d.engine.transact(ctx, func(tx *gorm.DB) error {
		span.Waited()
		return fn(tx)
	})
	span.Done(err)
	return err
}

// Read returns a handle for reading committed data. Its errors are already the
// errors of this package, or gorm's for a row that was not found.
func (d *DB) Read(ctx context.Context) *gorm.DB { return d.engine.reader().WithContext(ctx) }

// Health reports whether the database answers, still stands where it was, and
// still has what this program needs. It is for a database that was migrated.
func (d *DB) Health(ctx context.Context) error {
	if err := d.engine.present(); err != nil {
		return err
	}
	return d.checkFloor(ctx)
}

// waited is the error of a caller whose time ran out before a turn to write.
func waited(ctx context.Context) error {
	return fmt.Errorf("%w: waiting for a turn to write: %w", ErrUnavailable, ctx.Err())
}
