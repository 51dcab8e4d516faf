package assembly

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/internal/store"
)

// clockWatch is how far this process's clock is from the database server's. What is
// done by one clock alone is then seen to be done by a wrong one.
type clockWatch struct {
	now   func() time.Time
	ahead atomic.Uint64 // bits of seconds
}

// clocks is nil where there is only one clock, and in rehearsals.
func (p *parts) clocks() *clockWatch {
	if p.cfg.clock(p.db) == nil {
		return nil
	}
	w := &clockWatch{now: p.opt.Now}
	p.gauges = append(p.gauges, obs.Gauge{Name: "clock_ahead_seconds", Help: "How far this process's clock was ahead of the database server's when it last looked.",
		Value: func() float64 { return math.Float64frombits(w.ahead.Load()) }})
	return w
}

// watch looks once a minute until stop is called.
func (w *clockWatch) watch(ctx context.Context, c *chores, db *store.DB) (stop func() error) {
	return c.repeat(ctx, "clock", "the database's clock could not be asked", time.Minute, func(ctx context.Context) error { return w.look(ctx, db) })
}

// look asks the database's clock, and takes its answer for the middle of the wait.
func (w *clockWatch) look(ctx context.Context, db *store.DB) error {
	begun := w.now()
	at, _, err := db.Clock(ctx)
	if err != nil {
		return err
	}
	here := begun.Add(w.now().Sub(begun) / 2)
	w.ahead.Store(math.Float64bits(here.Sub(at).Seconds()))
	return nil
}
