// Package gather lets callers who ask for the same kind of thing at the same
// time be served together: one query for all who wait, one statement for all
// rows.
package gather

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
)

// ErrWaited reports a caller whose time ran out before it was served: nothing
// was done for it.
var ErrWaited = fault.New(fault.StoreDown, "the time ran out before the database had a turn")

// Gatherer serves askers of one kind together. Nobody waits for company: who
// comes while nothing is under way is served at once, and those who come
// meanwhile are served together next. It is safe for concurrent use.
type Gatherer[In, Out any] struct {
	cfg Config[In, Out]

	mu    sync.Mutex
	queue []*asker[In, Out]
	lanes int // servings under way
}

// Config says how askers are served.
type Config[In, Out any] struct {
	// Serve answers each of all, in their order. What was begun for many is not
	// broken off by one: its context ends when the last of them would have gone.
	Serve func(ctx context.Context, all []In) []Answer[Out]
	Most  int // how many are served together; at least 1
	Lanes int // how many servings run at the same time; at least 1
}

// Answer is what one asker gets.
type Answer[Out any] struct {
	Value Out
	Err   error
}

type asker[In, Out any] struct {
	ctx  context.Context
	in   In
	done chan outcome[Out] // has room for it
}

// outcome is an answer, or the panic that came instead of it: each asker panics
// by itself, where somebody is there to deal with that.
type outcome[Out any] struct {
	Answer[Out]
	panicked *fault.Panicked
}

func (o outcome[Out]) get() (Out, error) {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.Value, o.Err
}

// New returns a gatherer.
func New[In, Out any](cfg Config[In, Out]) *Gatherer[In, Out] {
	cfg.Most, cfg.Lanes = max(cfg.Most, 1), max(cfg.Lanes, 1)
	return &Gatherer[In, Out]{cfg: cfg}
}

// Do asks for in and returns the answer. ctx bounds the wait to be served; who
// is being served waits for the answer, so that the question is never left open:
// at longest until the latest deadline of those who are served together.
func (g *Gatherer[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	me := &asker[In, Out]{ctx, in, make(chan outcome[Out], 1)}
	if all := g.arrive(me); all != nil {
		g.serve(all)
	}
	select {
	case o := <-me.done:
		return o.get()
	case <-ctx.Done():
	}
	if g.leave(me) {
		var none Out
		return none, fmt.Errorf("%w: %w", ErrWaited, ctx.Err())
	}
	return (<-me.done).get()
}

// arrive queues an asker. It returns those whom the asker is to serve, itself
// among them, when there is a free lane.
func (g *Gatherer[In, Out]) arrive(me *asker[In, Out]) []*asker[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, me)
	if g.lanes == g.cfg.Lanes {
		return nil
	}
	g.lanes++
	return g.next()
}

// leave takes an asker out of the queue. It reports whether it was there.
func (g *Gatherer[In, Out]) leave(me *asker[In, Out]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, a := range g.queue {
		if a == me {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			return true
		}
	}
	return false
}

// next takes the first of the queue; the caller holds the lock.
func (g *Gatherer[In, Out]) next() []*asker[In, Out] {
	n := min(len(g.queue), g.cfg.Most)
	all := append([]*asker[In, Out](nil), g.queue[:n]...)
	g.queue = append(g.queue[:0], g.queue[n:]...)
	return all
}

// serve answers all, and leaves those who came meanwhile to somebody else.
func (g *Gatherer[In, Out]) serve(all []*asker[In, Out]) {
	defer g.pass()
	ins := make([]In, len(all))
	for i, a := range all {
		ins[i] = a.in
	}
	ctx, cancel := common(all)
	defer cancel()
	answers, panicked := g.try(ctx, ins)
	for i, a := range all {
		o := outcome[Out]{panicked: panicked}
		if panicked == nil {
			o.Answer = answers[i]
		}
		a.done <- o
	}
}

// patience is how long those who named no deadline are served.
const patience = 10 * time.Second

// common returns a context with the values of the first of all, and the latest
// of their deadlines: a database that hangs must not hold the lane for ever.
func common[In, Out any](all []*asker[In, Out]) (context.Context, context.CancelFunc) {
	var latest time.Time
	for _, a := range all {
		d, named := a.ctx.Deadline()
		if !named {
			d = time.Now().Add(patience)
		}
		if d.After(latest) {
			latest = d
		}
	}
	return context.WithDeadline(context.WithoutCancel(all[0].ctx), latest)
}

func (g *Gatherer[In, Out]) try(ctx context.Context, ins []In) (answers []Answer[Out], panicked *fault.Panicked) {
	defer func() {
		if v := recover(); v != nil {
			panicked = fault.Carry(v)
		}
	}()
	answers = g.cfg.Serve(ctx, ins)
	if len(answers) != len(ins) {
		panic(fmt.Sprintf("%d answers for %d askers", len(answers), len(ins)))
	}
	return answers, nil
}

// pass gives the lane to those who wait, or back.
func (g *Gatherer[In, Out]) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.lanes--
		return
	}
	go g.serve(g.next())
}
