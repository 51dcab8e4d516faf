package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// session is the one connection that SQLite is written through. Statements
// stay prepared on it from one transaction to the next, which neither gorm nor
// database/sql does. It is not safe for concurrent use: who has the turn to
// write has it.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// maxStmts bounds the statements kept prepared; the service has far fewer, and
// the bound is for those whose text depends on the number of rows.
const maxStmts = 1024

func newSession(conn *sql.Conn) *session {
	return &session{conn: conn, stmts: map[string]*sql.Stmt{}}
}

func (s *session) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := s.stmts[query]; ok {
		return st, nil
	}
	st, err := s.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if len(s.stmts) >= maxStmts {
		if err := s.forget(); err != nil {
			return nil, errors.Join(err, st.Close())
		}
	}
	s.stmts[query] = st
	return st, nil
}

func (s *session) forget() error {
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	clear(s.stmts)
	return errors.Join(errs...)
}

func (s *session) close() error { return errors.Join(s.forget(), s.conn.Close()) }

// PrepareContext implements gorm.ConnPool.
func (s *session) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return s.conn.PrepareContext(ctx, query)
}

// ExecContext implements gorm.ConnPool. Savepoints that gorm names are new
// texts each time and are not kept.
func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if len(args) == 0 && strings.Contains(query, "SAVEPOINT sp") {
		return s.conn.ExecContext(ctx, query)
	}
	st, err := s.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// QueryContext implements gorm.ConnPool.
func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := s.stmt(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// QueryRowContext implements gorm.ConnPool.
func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	st, err := s.stmt(ctx, query)
	if err != nil {
		return s.conn.QueryRowContext(ctx, query, args...) // which fails with the same error
	}
	return st.QueryRowContext(ctx, args...)
}

// errTurn is for code that ends a transaction by itself.
var errTurn = errors.New("a transaction ends when its function returns")

// Commit makes gorm use savepoints for a transaction inside the transaction.
func (s *session) Commit() error { return errTurn }

// Rollback goes with Commit.
func (s *session) Rollback() error { return errTurn }
