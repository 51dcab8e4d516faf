package assembly

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/obs"
)

// chores are what the process does beside requests, each until it is stopped. One that
// panics has failed, as a request that panics has: it is begun again, and the process
// stays. What made it panic may be a row that every process reads. See
// docs/decisions/164.
type chores struct {
	log   *slog.Logger
	rest  time.Duration // before one that ended by a panic is begun again
	fails map[string]*atomic.Uint64
}

// tasks are the names of chores.
var tasks = []string{"audit-checkpoints", "clock", "deny-list", "events", "forget", "key-versions", "loads", "range-capacity", "ranges",
	"signing-keys", "slots", "tokens", "webhooks"}

func newChores(log *slog.Logger) *chores {
	c := &chores{log: log, rest: 5 * time.Second, fails: make(map[string]*atomic.Uint64, len(tasks))}
	for _, name := range tasks {
		c.fails[name] = new(atomic.Uint64)
	}
	return c
}

// repeat does a thing now and then every so often, once a minute unless told, until
// stop is called. What it returns is told as said, and counted.
func (c *chores) repeat(ctx context.Context, name, said string, every time.Duration, once func(context.Context) error) (stop func() error) {
	if every == 0 {
		every = time.Minute
	}
	fails := c.fails[name]
	return begin(ctx, func(ctx context.Context) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ctx.Err() == nil {
			err := fault.Safely(func() error { return once(ctx) })
			if err != nil && ctx.Err() == nil {
				fails.Add(1)
				c.log.Log(ctx, weight(err), said, "error", err.Error())
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
}

// look is repeat for what tells of its failures itself.
func (c *chores) look(ctx context.Context, name string, every time.Duration, once func(context.Context)) (stop func() error) {
	return c.repeat(ctx, name, "a look failed", every, func(ctx context.Context) error { once(ctx); return nil })
}

// run does a thing that goes on by itself until stop is called, which returns when it has
// ended.
func (c *chores) run(ctx context.Context, name string, do func(context.Context)) (stop func() error) {
	fails := c.fails[name]
	return begin(ctx, func(ctx context.Context) {
		for ctx.Err() == nil {
			err := fault.Safely(func() error { do(ctx); return nil })
			if err == nil {
				return
			}
			fails.Add(1)
			c.log.ErrorContext(ctx, "what the process does beside requests is begun again", "task", name, "error", err.Error())
			select {
			case <-ctx.Done():
			case <-time.After(c.rest):
			}
		}
	})
}

// weight is how loudly a failure is told.
func weight(err error) slog.Level {
	if p := (*fault.Panicked)(nil); errors.As(err, &p) {
		return slog.LevelError
	}
	return slog.LevelWarn
}

// gauges tell how often each failed.
func (c *chores) gauges() (all []obs.Gauge) {
	for _, name := range tasks {
		all = append(all, obs.Gauge{Name: "task_failures_total", Labels: map[string]string{"task": name}, Counts: true,
			Help:  "How often something that this process does beside requests failed.",
			Value: func() float64 { return float64(c.fails[name].Load()) }})
	}
	return all
}

// begin does a thing in the background until stop is called, which returns when
// the thing has ended.
func begin(ctx context.Context, do func(context.Context)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { do(ctx) })
	return func() error { cancel(); running.Wait(); return nil }
}
