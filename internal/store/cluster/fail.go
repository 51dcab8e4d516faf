package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Socket is the socket on which the server answers.
func (c *Cluster) Socket() string { return filepath.Join(c.dir, ".s.PGSQL."+c.number()) }

// Crash ends the server as a crash does, whoever is connected. [Cluster.Restart]
// starts it again on what is on the disk.
func (c *Cluster) Crash() error {
	err := c.end()
	if err == nil {
		c.ended = nil
	}
	return err
}

// Restart starts a server that crashed, and waits until it answers.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("starting PostgreSQL again: %w", err)
	}
	return nil
}

// Standby makes a second server that follows this one, and has every commit
// here wait until it is on the disk there too. [Cluster.Promote] makes it the
// first.
func (c *Cluster) Standby(ctx context.Context) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "tapvault-pg-")
	if err != nil {
		return nil, fmt.Errorf("making a standby: %w", err)
	}
	s := &Cluster{dir: dir, bin: c.bin, who: c.who, args: c.args}
	if err := s.follow(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("making a standby: %w", err), s.Stop())
	}
	return s, nil
}

func (c *Cluster) follow(ctx context.Context, first *Cluster) error {
	if err := c.own(); err != nil {
		return err
	}
	copied := c.command(filepath.Join(c.bin, "pg_basebackup"), "-h", first.dir, "-p", first.number(), "-U", superuser, "-D", c.data(), "-R", "-X", "stream",
		"-c", "fast", "--no-sync")
	if out, err := copied.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, bytes.TrimSpace(out))
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := first.Exec(ctx, first.url("postgres"), q); err != nil {
			return err
		}
	}
	return nil
}

// Promote makes a standby the first server.
func (c *Cluster) Promote(ctx context.Context) error {
	if err := c.Exec(ctx, c.url("postgres"), "SELECT pg_promote()"); err != nil {
		return fmt.Errorf("promoting a standby: %w", err)
	}
	return nil
}

// At is the URL of a database of another server, as it is reached here.
func (c *Cluster) At(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return ""
	}
	return c.url(strings.TrimPrefix(u.Path, "/"))
}
