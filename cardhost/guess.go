package cardhost

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
)

// Bounds of guessing, for a day. A MAC of four bytes takes years at this rate.
const (
	MaxMisses    = 32   // of one card, by one caller
	MaxAllMisses = 1000 // of all cards, by one caller
)

// ErrMisses reports a caller who showed too many MACs that did not hold. Others
// may still ask about the same card: nobody locks it for its holder.
var ErrMisses = fault.New(fault.TooFast, "too many MACs that this caller showed today did not hold")

// Standing is what a caller got wrong today.
type Standing struct {
	Total  int
	Barred map[[32]byte]bool // cards of which it may not ask any more
	Until  time.Duration     // to the end of the day
}

// Guesses counts MACs that did not hold, for all processes together. It is safe
// for concurrent use.
type Guesses interface {
	Standing(ctx context.Context, client string) (Standing, error)
	Miss(ctx context.Context, client string, name [32]byte) error
}

// guard bounds guessing. Callers who got nothing wrong cost it one look a second
// each; those who did are looked up every time, so that what another process
// counted counts here. A caller whom this process takes for clean has shown it
// nothing wrong: its first wrong MAC here ends that. So a bound is passed by no
// more than the guesses that are under way at the same moment, and one for each
// process.
type guard struct {
	guesses Guesses
	name    func(ctx context.Context, c Card) ([32]byte, error)
	log     *slog.Logger
	now     func() time.Time

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

// may says whether a caller may show a MAC of a card.
func (g *guard) may(ctx context.Context, c access.Caller, card Card) error {
	if g == nil {
		return nil
	}
	now := g.now()
	g.mu.Lock()
	l, misses := g.seen[c.ID], g.misses
	g.mu.Unlock()
	if l.clean && now.Sub(l.at) < freshLook && !now.Before(l.at) {
		return nil
	}
	s, err := g.guesses.Standing(ctx, c.ID)
	if err != nil {
		return err
	}
	g.mu.Lock()
	if len(g.seen) >= mostSeen {
		clear(g.seen) // they are looked up again
	}
	if misses == g.misses { // else what was read may be older than a miss
		g.seen[c.ID] = look{now, s.Total == 0}
	}
	g.mu.Unlock()
	barred := s.Total >= MaxAllMisses
	if !barred && len(s.Barred) > 0 {
		name, err := g.name(ctx, card)
		if err != nil {
			return err
		}
		barred = s.Barred[name]
	}
	if !barred {
		return nil
	}
	g.log.WarnContext(ctx, "a caller showed too many MACs that do not hold: somebody may be guessing", "client", c.ID, "misses", s.Total)
	return fault.After(ErrMisses, s.Until)
}

// missed counts a MAC that did not hold.
func (g *guard) missed(ctx context.Context, c access.Caller, card Card) error {
	if g == nil {
		return nil
	}
	name, err := g.name(ctx, card)
	if err != nil {
		return err
	}
	if err := g.guesses.Miss(ctx, c.ID, name); err != nil {
		return err
	}
	g.mu.Lock()
	delete(g.seen, c.ID)
	g.misses++
	g.mu.Unlock()
	return nil
}
