// Package guess bounds how many MACs that do not hold a caller may show in a
// day.
//
// What is guessed at has a name: a physical card, or a token. A count belongs to
// the caller and the name together, so that nobody can lock a card or a token by
// guessing at it: other callers go on.
package guess

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/internal/fault"
)

// Bounds of guessing, for a day. A MAC of four bytes takes years at this rate.
const (
	Max    = 32   // about one name, by one caller
	MaxAll = 1000 // about all of them, by one caller
)

// ErrMisses reports a caller who showed too many MACs that did not hold. Others
// may still ask about the same card or token: nobody locks it for its holder.
var ErrMisses = fault.New(fault.TooFast, "too many MACs that this caller showed today did not hold")

// Name names what is guessed at.
type Name [32]byte

// Standing is what a caller got wrong today.
type Standing struct {
	Total  int
	Most   int           // of one name that is not barred
	Barred map[Name]bool // of which it may not ask any more
	Until  time.Duration // to the end of the day
}

// Miss is one thing shown that did not hold. Its ID counts once, however often
// and on whatever day it is shown again.
type Miss struct {
	Name Name
	ID   [32]byte
}

// Counts keeps the counts, for all processes together. It is safe for concurrent
// use.
type Counts interface {
	Standing(ctx context.Context, client string) (Standing, error)
	// Miss counts one more; passed says that it passed a bound.
	Miss(ctx context.Context, client string, name Name) (s Standing, passed bool, err error)
	// Once counts those that were not counted before, in their order, until one of
	// them passes a bound; passed says that one did.
	Once(ctx context.Context, client string, misses []Miss) (s Standing, passed bool, err error)
}

// Guard holds callers to the bounds. Those who got nothing wrong cost it one look
// a second each; those who did are looked up every time, so that what another
// process counted counts here. A caller whom this process takes for clean has
// shown it nothing wrong: its first wrong MAC here ends that. What is under way at the
// same moment counts as if it were wrong, see [Guard.Enter]. A nil Guard bounds
// nothing. Safe for concurrent use.
type Guard struct {
	counts  Counts
	log     *slog.Logger
	now     func() time.Time
	refused atomic.Uint64
	lanes   Lanes
	debts   Debts

	mu     sync.Mutex
	seen   map[string]look // by client
	misses uint64          // that were counted here
}

type look struct {
	at    time.Time
	clean bool
}

// freshLook is how long a caller who got nothing wrong is not looked up again.
const freshLook = time.Second

// mostSeen bounds the memory: callers whom another issuer names may be many.
const mostSeen = 10_000

// New returns a guard over counts. A nil log logs nothing, a nil now is time.Now.
func New(counts Counts, log *slog.Logger, now func() time.Time) *Guard {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &Guard{counts: counts, log: log, now: now, seen: map[string]look{}}
}

// Refused is how often a caller was refused here: somebody may be guessing.
func (g *Guard) Refused() uint64 { return g.refused.Load() }

// Standing returns what a caller got wrong, or [ErrMisses] when it may not show
// anything any more today.
func (g *Guard) Standing(ctx context.Context, client string) (s Standing, err error) {
	if g == nil {
		return Standing{}, nil
	}
	now := g.now()
	g.mu.Lock()
	l, misses := g.seen[client], g.misses
	g.mu.Unlock()
	if l.clean && now.Sub(l.at) < freshLook && !now.Before(l.at) {
		return Standing{}, nil
	}
	if s, err = g.counts.Standing(ctx, client); err != nil {
		return s, err
	}
	g.mu.Lock()
	if len(g.seen) >= mostSeen {
		clear(g.seen) // they are looked up again
	}
	if misses == g.misses { // else what was read may be older than a miss
		g.seen[client] = look{now, s.Total == 0}
	}
	g.mu.Unlock()
	if s.Total >= MaxAll {
		return s, g.Refuse(ctx, client, s)
	}
	return s, nil
}

// May refuses a caller who may not show a MAC any more of what name names, which is
// called only if that matters.
func (g *Guard) May(ctx context.Context, client string, s Standing, name func(context.Context) (Name, error)) error {
	if len(s.Barred) == 0 {
		return nil
	}
	n, err := name(ctx)
	if err != nil || !s.Barred[n] {
		return err
	}
	return g.Refuse(ctx, client, s)
}

// Refuse raises the alarm about a caller, and returns [ErrMisses] with the time
// until the day ends.
func (g *Guard) Refuse(ctx context.Context, client string, s Standing) error {
	g.refused.Add(1)
	g.log.WarnContext(ctx, "a caller showed too many MACs that do not hold: somebody may be guessing", "client", client, "misses", s.Total)
	return fault.After(ErrMisses, s.Until)
}

// Missed counts a MAC of a thing that did not hold, also for a caller who hung up
// meanwhile: by whether there is an answer at all, who listens on would know. It returns
// [ErrMisses] when a bound was passed by it: then the caller is not told even that.
// What could not be counted is before anything more is judged of the thing.
func (g *Guard) Missed(ctx context.Context, client, thing string, name func(context.Context) (Name, error)) error {
	if g == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	var s Standing
	var passed bool
	err := g.debts.Count(ctx, of(client, thing), func(ctx context.Context) error {
		n, err := name(ctx)
		if err != nil {
			return err
		}
		if s, passed, err = g.counts.Miss(ctx, client, n); err == nil {
			g.forget(client)
		}
		return err
	})
	if err == nil && passed {
		err = g.Refuse(ctx, client, s)
	}
	return err
}

// Once counts what did not hold, each ID once, before anything is said of it, and as
// [Guard.Missed] whoever is gone. It returns [ErrMisses] when a bound was passed: then
// nothing may be said.
func (g *Guard) Once(ctx context.Context, client string, misses []Miss) error {
	if g == nil || len(misses) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	s, passed, err := g.counts.Once(ctx, client, misses)
	if err != nil {
		return err
	}
	g.forget(client)
	if passed {
		return g.Refuse(ctx, client, s)
	}
	return nil
}

// forget has a caller looked up again.
func (g *Guard) forget(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.seen, client)
	g.misses++
}
