package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// lookEvery is how often all servers of the URL are looked at, and lookFor how long
// that may take.
const (
	lookEvery = 2 * time.Second
	lookFor   = 2 * time.Second
)

// lines knows which of several servers is the first one now. A standby that is
// promoted begins a timeline of a higher number. A server that was the first before,
// and comes back or was only cut off, takes itself for the first: nobody may be
// answered from what it holds (docs/decisions/163).
type lines struct {
	each   []*pgx.ConnConfig // one for each server
	renew  func(context.Context, *pgx.ConnConfig) error
	newest atomic.Int64

	mu      sync.Mutex
	looked  time.Time
	looking sync.WaitGroup
}

// errOutlived reports a server that another one has followed.
var errOutlived = errors.New("this server was followed by another, which was promoted")

// newLines watches over the servers of conn, if it names several of which the one
// that takes writes is meant: it adds to what conn checks of each connection. Each of
// its own is brought up to date by renew.
func newLines(conn *pgx.ConnConfig, renew func(context.Context, *pgx.ConnConfig) error) *lines {
	l := &lines{renew: renew}
	if conn.ValidateConnect == nil {
		return l
	}
	seen := map[string]*pgx.ConnConfig{}
	for _, at := range places(conn) {
		name := at.Host + ":" + strconv.Itoa(int(at.Port))
		if one := seen[name]; one != nil { // without TLS, most likely
			one.Fallbacks = append(one.Fallbacks, at)
			continue
		}
		one := conn.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = at.Host, at.Port, at.TLSConfig, nil
		one.ValidateConnect = l.check(conn.ValidateConnect)
		seen[name] = one
		l.each = append(l.each, one)
	}
	if len(l.each) > 1 {
		conn.ValidateConnect = l.check(conn.ValidateConnect)
	}
	return l
}

// check adds the timeline to what is checked of a new connection.
func (l *lines) check(first pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, c *pgconn.PgConn) error {
		if err := first(ctx, c); err != nil {
			return err
		}
		n, err := timeline(ctx, c)
		if err != nil || n == 0 {
			return err
		}
		c.CustomData()[lineKey] = n
		for {
			newest := l.newest.Load()
			if n < newest {
				return errOutlived
			}
			if n == newest || l.newest.CompareAndSwap(newest, n) {
				return nil
			}
		}
	}
}

const lineKey = "tapvault.timeline"

// timeline is the number of the line that a server writes, and 0 for a standby, or
// a server that has none.
func timeline(ctx context.Context, c *pgconn.PgConn) (int64, error) {
	const ask = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
	got, err := c.Exec(ctx, ask).ReadAll()
	var said *pgconn.PgError
	if errors.As(err, &said) && said.Code == "42883" { // another database that speaks like PostgreSQL
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text := string(got[0].Rows[0][0])
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("reading the server's timeline: %w", err)
	}
	return n, nil
}

// current drops a connection that rested to a server which was followed since.
func (l *lines) current(_ context.Context, c *pgx.Conn) error {
	if n, ok := c.PgConn().CustomData()[lineKey].(int64); ok && n < l.newest.Load() {
		return driver.ErrBadConn
	}
	return nil
}

// look asks each server for its line, at the same time. One that does not answer
// is none that could be the first.
func (l *lines) look(ctx context.Context) {
	if len(l.each) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	var all sync.WaitGroup
	for _, one := range l.each {
		all.Go(func() {
			at := one.Copy()
			if l.renew(ctx, at) != nil {
				return
			}
			if c, err := pgx.ConnectConfig(ctx, at); err == nil {
				_ = c.Close(ctx)
			}
		})
	}
	all.Wait()
}

// again looks when the last time is long enough ago; nobody waits for it.
func (l *lines) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.each) < 2 || time.Since(l.looked) < lookEvery {
		return
	}
	l.looked = time.Now()
	l.looking.Go(func() { l.look(context.Background()) })
}

// close waits for a look that is under way.
func (l *lines) close() {
	l.mu.Lock()
	l.looked = time.Now().Add(24 * time.Hour) // no other begins
	l.mu.Unlock()
	l.looking.Wait()
}
