package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

// postgresLink borrows a connection of the pool for each transaction, so that
// one that was lost is replaced.
type postgresLink struct {
	pool *sql.DB
	db   *gorm.DB // any; its connection is not used
	conn *sql.Conn
}

// What a transaction of PostgreSQL can be in, as the server says after each
// answer.
const (
	inNone  = 'I'
	inSound = 'T'
)

// errBroken reports a function that returned no error after a statement of its
// own had failed: the server keeps nothing of it.
var errBroken = errors.New("a statement of the transaction failed")

func (l *postgresLink) begin(ctx context.Context) (*gorm.DB, error) {
	conn, err := l.pool.Conn(ctx)
	if err != nil {
		return nil, mapError(err)
	}
	l.conn = conn
	ctx = context.WithoutCancel(ctx)
	if err := l.exec(ctx, "BEGIN ISOLATION LEVEL SERIALIZABLE; SAVEPOINT member"); err != nil {
		l.rollback(ctx)
		return nil, err
	}
	tx := l.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	tx.Statement.ConnPool = borrowed{conn}
	return tx, nil
}

// next also releases the savepoint of the member before, which saves a round
// trip.
func (l *postgresLink) next(ctx context.Context) error {
	return l.exec(ctx, "RELEASE SAVEPOINT member; SAVEPOINT member")
}

func (l *postgresLink) keep(context.Context) error {
	if l.state() != inSound {
		return errBroken
	}
	return nil
}

func (l *postgresLink) undo(ctx context.Context) error {
	return l.exec(ctx, "ROLLBACK TO SAVEPOINT member")
}

// commit asks for no commit of what the server would roll back: that is no
// error to the server.
func (l *postgresLink) commit(ctx context.Context) error {
	if l.state() != inSound {
		l.rollback(ctx)
		return errSpoiled
	}
	err := l.exec(ctx, "COMMIT")
	l.giveBack()
	return err
}

func (l *postgresLink) rollback(ctx context.Context) {
	_ = l.exec(ctx, "ROLLBACK") // the connection may be lost
	l.giveBack()
}

// giveBack gives the connection back to the pool, which drops it if it is still
// in a transaction, or lost.
func (l *postgresLink) giveBack() {
	if l.state() != inNone {
		_ = l.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = l.conn.Close()
	l.conn = nil
}

// state is what the server said last, or 0 when the connection is lost.
func (l *postgresLink) state() (s byte) {
	err := l.conn.Raw(func(c any) error {
		if p := c.(*stdlib.Conn).Conn(); !p.IsClosed() {
			s = p.PgConn().TxStatus()
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return s
}

func (l *postgresLink) exec(ctx context.Context, statements string) error {
	if _, err := l.conn.ExecContext(ctx, statements); err != nil {
		return fmt.Errorf("%s: %w", statements, mapError(err))
	}
	return nil
}

// borrowed is a connection in a transaction. That it can commit, by its methods,
// makes gorm use savepoints for a transaction inside the transaction.
type borrowed struct{ *sql.Conn }

// Commit implements gorm.TxCommitter.
func (borrowed) Commit() error { return errTurn }

// Rollback implements gorm.TxCommitter.
func (borrowed) Rollback() error { return errTurn }
