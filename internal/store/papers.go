package store

import (
	"context"
	"crypto/tls"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// papers are the files that a URL names: password, the CA of the server, a
// certificate of one's own. They are read anew for each connection, since servers get
// new ones while the service runs, which makes connections for as long as it does.
type papers struct {
	dsn  string
	last atomic.Pointer[pgx.ConnConfig] // what could be read last
}

// open reads them for the first time.
func (p *papers) open() (*pgx.ConnConfig, error) {
	conn, err := pgx.ParseConfig(p.dsn)
	p.last.Store(conn)
	return conn, err
}

// renew brings what a connection is made with up to date. While a file is not there,
// or half written, what was read before it serves on.
func (p *papers) renew(_ context.Context, c *pgx.ConnConfig) error {
	now, err := pgx.ParseConfig(p.dsn)
	if was := p.last.Load(); err != nil {
		now = was
	} else if now.Password == "" {
		now.Password = was.Password
	}
	p.last.Store(now)
	c.Password, c.TLSConfig = now.Password, likewise(now, places(c)[0])
	others := make([]*pgconn.FallbackConfig, len(c.Fallbacks)) // those of c are also others'
	for i, at := range c.Fallbacks {
		others[i] = &pgconn.FallbackConfig{Host: at.Host, Port: at.Port, TLSConfig: likewise(now, at)}
	}
	c.Fallbacks = others
	return nil
}

// places is where a connection may be made to, in turn.
func places(c *pgx.ConnConfig) []*pgconn.FallbackConfig {
	return append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
}

// likewise is how now speaks to a place; never without TLS where it was with TLS.
func likewise(now *pgx.ConnConfig, at *pgconn.FallbackConfig) *tls.Config {
	for _, one := range places(now) {
		if one.Host == at.Host && one.Port == at.Port && (one.TLSConfig == nil) == (at.TLSConfig == nil) {
			return one.TLSConfig
		}
	}
	return at.TLSConfig
}
