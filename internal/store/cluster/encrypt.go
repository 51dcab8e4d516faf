package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// number is the port that is part of the socket's name, too.
func (c *Cluster) number() string { return strconv.Itoa(cmp.Or(c.port, 5432)) }

// Encrypt shows a certificate, PEM, to who connects from now on, as an operator does
// with a new one: the server goes on meanwhile.
func (c *Cluster) Encrypt(ctx context.Context, cert, key []byte) error {
	for name, text := range map[string][]byte{"server.crt": cert, "server.key": key} {
		file := filepath.Join(c.data(), name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return fmt.Errorf("giving PostgreSQL a certificate: %w", err)
		}
		if c.who == nil {
			continue
		}
		if err := os.Chown(file, int(c.who.Uid), int(c.who.Gid)); err != nil {
			return fmt.Errorf("giving PostgreSQL a certificate: %w", err)
		}
	}
	for _, q := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		if err := c.Exec(ctx, c.url("postgres"), q); err != nil {
			return fmt.Errorf("giving PostgreSQL a certificate: %w", err)
		}
	}
	return nil
}
