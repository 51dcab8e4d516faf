package assembly

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/tapvault/tapvault/internal/store"
)

// wholeWithin bounds how long a start reads a file that was not closed.
const wholeWithin = 10 * time.Second

// openWhole opens the database of a service. Of a file that was not closed, as by a
// process that was killed, it reads all: whoever puts a back-up in its place and leaves
// its -wal there has a mixture of both, which answers and knows half of its tokens.
func (p *parts) openWhole(ctx context.Context) (*store.DB, error) {
	left := p.cfg.leftOpen()
	db, err := OpenStore(ctx, p.cfg, p.opt.Now)
	if err != nil || !left {
		return db, err
	}
	bound, cancel := context.WithTimeout(ctx, wholeWithin)
	defer cancel()
	err = db.Sound(bound)
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		p.opt.Log.Log(ctx, slog.LevelWarn, "the database was not closed, and is too large to be read at a start: tapvault doctor reads it")
		return db, nil
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// leftOpen reports whether something that was committed stands beside the file: it was
// not closed, or another process has it.
func (c Config) leftOpen() bool {
	if store.IsPostgres(c.Store.DSN) || c.Store.ReadOnly {
		return false
	}
	info, err := os.Stat(store.SideFiles(c.Path(c.Store.DSN))[0])
	return err == nil && info.Size() > 0
}
