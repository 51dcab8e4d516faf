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

// Surely is the moment that has come by the clock of this process and by that of
// the database's server, if it has one. By it rows are forgotten that nobody can
// bring back: a process whose clock is ahead forgets nothing of others.
func (d *DB) Surely(ctx context.Context) (time.Time, error) {
	now := d.engine.reader().NowFunc()
	server, ok, err := d.Clock(ctx)
	if ok && server.Before(now) {
		now = server
	}
	return now, err
}
