package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
)

// sqliteEngine is an SQLite file.
type sqliteEngine struct {
	*writer
	conn  *session // that writer writes through
	cfg   Config
	read  *gorm.DB
	pools []*sql.DB
	files opened // what stood at the path when it was opened, and beside it
}

func openSQLite(_ context.Context, cfg Config) (engine, error) {
	if err := prepareFile(cfg); err != nil {
		return nil, err
	}
	e := &sqliteEngine{cfg: cfg}
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// open makes the connection that writes and the pool that reads.
func (e *sqliteEngine) open() error {
	write, read := e.pool(false, 1), e.pool(true, e.cfg.Readers)
	e.pools = []*sql.DB{write, read}
	conn, err := write.Conn(context.Background())
	if err != nil {
		return err
	}
	e.conn = newSession(conn)
	db, err := handle(sqliteDialect{&sqlite.Dialector{Conn: e.conn}}, e.cfg, false)
	if err != nil {
		return err
	}
	if e.read, err = handle(sqliteDialect{&sqlite.Dialector{Conn: read}}, e.cfg, true); err != nil {
		return err
	}
	var n int64 // SQLite makes what stands beside the file when it reads the first time
	if err := db.Raw("SELECT count(*) FROM sqlite_master").Scan(&n).Error; err != nil {
		return err
	}
	if e.files, err = look(e.cfg); err != nil {
		return err
	}
	e.writer = &writer{link: &sqliteLink{db, e.conn, e.files}}
	return nil
}

// present fails when the file, or one that SQLite keeps beside it, was removed or
// another put in its place. SQLite would go on with the one that nobody can find any
// more, and what it commits there is lost at the next start.
func (e *sqliteEngine) present() error { return e.files.present() }

func (e *sqliteEngine) pool(reading bool, size int) *sql.DB {
	return limit(sql.OpenDB(newConnector(e.cfg, reading)), size)
}

func (e *sqliteEngine) reader() *gorm.DB { return e.read }

func (e *sqliteEngine) migrating() (goose.Dialect, *sql.DB) {
	return goose.DialectSQLite3, e.pool(false, 1)
}

func (e *sqliteEngine) clock() string { return "" }

func (e *sqliteEngine) findTable() string {
	return "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
}

func (e *sqliteEngine) close() error {
	var errs []error
	if e.conn != nil {
		errs = append(errs, e.conn.close())
	}
	for _, p := range e.pools {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// sqliteLink is the connection that writes. It is never replaced.
type sqliteLink struct {
	db    *gorm.DB // over conn
	conn  *session
	files opened
}

// begin begins nothing in a file that is gone.
func (l *sqliteLink) begin(ctx context.Context) (*gorm.DB, error) {
	if err := l.files.present(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := l.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	if err := l.next(ctx); err != nil {
		l.rollback(ctx)
		return nil, err
	}
	return l.db, nil
}

func (l *sqliteLink) next(ctx context.Context) error { return l.exec(ctx, "SAVEPOINT member") }
func (l *sqliteLink) keep(ctx context.Context) error { return l.exec(ctx, "RELEASE member") }
func (l *sqliteLink) undo(ctx context.Context) error { return l.exec(ctx, "ROLLBACK TO member") }

// commit says of no file that went meanwhile that anything is kept in it.
func (l *sqliteLink) commit(ctx context.Context) error {
	if err := l.exec(ctx, "COMMIT"); err != nil {
		l.rollback(ctx)
		return err
	}
	return l.files.present()
}

// rollback ignores that there may be nothing left to roll back: SQLite may have
// done it.
func (l *sqliteLink) rollback(ctx context.Context) { _ = l.exec(ctx, "ROLLBACK") }

func (l *sqliteLink) exec(ctx context.Context, statement string) error {
	if _, err := l.conn.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, mapError(err))
	}
	return nil
}

// prepareFile refuses what is not a path and creates a missing file with a
// mode that keeps others out; SQLite gives its side files the same mode.
func prepareFile(cfg Config) error {
	if cfg.DSN == "" || strings.Contains(cfg.DSN, "://") || strings.Contains(cfg.DSN, ":memory:") {
		return fmt.Errorf("%w: the database is named by the path of a file", ErrUnavailable)
	}
	if cfg.ReadOnly {
		return nil
	}
	f, err := os.OpenFile(cfg.DSN, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fileError(err)
	}
	return errors.Join(f.Close(), fileWritable(cfg.DSN))
}

// fileError is what an error of the operating system means for the database.
func fileError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && systemKind(errno) != nil {
		return fmt.Errorf("%w: %w", systemKind(errno), err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// connector opens connections with the pragmas of its pool. A connection that
// the pool replaces gets the same ones.
type connector struct {
	dsn    string
	driver *sqlite3.SQLiteDriver
}

func newConnector(cfg Config, reading bool) *connector {
	q := url.Values{}
	q.Set("_busy_timeout", strconv.FormatInt(cfg.BusyTimeout.Milliseconds(), 10))
	q.Set("_foreign_keys", "on")
	q.Set("_synchronous", "FULL")
	q.Set("_txlock", "immediate")
	switch {
	case cfg.ReadOnly:
		q.Set("mode", "ro")
	case reading:
		q.Set("_query_only", "on")
	default:
		q.Set("_journal_mode", "WAL")
	}
	path, err := filepath.Abs(cfg.DSN)
	if err != nil {
		path = cfg.DSN
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	return &connector{u.String(), &sqlite3.SQLiteDriver{ConnectHook: capSize(cfg.MaxBytes)}}
}

// capSize limits the pages that a connection may let the file grow to.
func capSize(maxBytes int64) func(*sqlite3.SQLiteConn) error {
	if maxBytes <= 0 {
		return nil
	}
	return func(c *sqlite3.SQLiteConn) error {
		const pageSize = 4096 // SQLite's default, which new files get
		_, err := c.Exec("PRAGMA max_page_count = "+strconv.FormatInt(max(1, maxBytes/pageSize), 10), nil)
		return err
	}
}

// Connect opens one connection.
func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

// Driver returns the driver.
func (c *connector) Driver() driver.Driver { return c.driver }

// sqliteDialect is gorm's SQLite dialect with our errors.
type sqliteDialect struct{ *sqlite.Dialector }

// Translate maps every error that gorm reports.
func (sqliteDialect) Translate(err error) error { return mapError(err) }
