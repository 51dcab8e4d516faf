package store

import (
	"context"
	"io/fs"
)

// OpenWith opens a database as a release that knows other migrations.
func OpenWith(ctx context.Context, cfg Config, known fs.FS) (*DB, error) {
	return open(ctx, cfg, sources{known})
}
