package store

import (
	"context"
	"fmt"
	"time"
)

// Clock is the time of the database's server, which all processes can go by. ok is
// false for a database that has no clock but this machine's.
func (d *DB) Clock(ctx context.Context) (at time.Time, ok bool, err error) {
	q := d.engine.clock()
	if q == "" {
		return time.Time{}, false, nil
	}
	var ms int64
	if err := d.Read(ctx).Raw(q).Scan(&ms).Error; err != nil {
		return time.Time{}, false, fmt.Errorf("asking the database's clock: %w", err)
	}
	return time.UnixMilli(ms).UTC(), true, nil
}

// Earlier is now, or the time of the database's server if that is earlier: the moment
// that has come by both. What cannot be undone is done by it, so that a process whose
// clock is ahead ends, frees and forgets nothing of others. Of a database without a
// clock of its own it is now.
func (d *DB) Earlier(ctx context.Context, now time.Time) (time.Time, error) {
	server, ok, err := d.Clock(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if ok && server.Before(now) {
		return server, nil
	}
	return now, nil
}

// Surely is [DB.Earlier] for the clock of this process that rows are written by.
func (d *DB) Surely(ctx context.Context) (time.Time, error) {
	return d.Earlier(ctx, d.engine.reader().NowFunc())
}
