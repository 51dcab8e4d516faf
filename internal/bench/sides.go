package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/softtoken"
)

// contest is a check of one kind of cryptogram, and the C loop of the PKCS #11
// calls that it takes.
type contest struct {
	name, unit string
	key        keyref.Ref
	// prepare makes what check needs. Both rings hold the key.
	prepare func(ctx context.Context, soft *softkey.Ring) error
	// check is what the service does for one card of [cards].
	check func(ctx context.Context, tok *hsm.Token, card uint64) error
	// loop is the bare side for n cards from seed.
	loop func(b *bare, n int, seed uint64) error
	// agree fails when both sides do not compute the same.
	agree func(ctx context.Context, tok *hsm.Token, b *bare) error
}

// cards is how many cards take turns: far more than the front-end remembers,
// so that each derivation really happens.
const cards = 16384

// contestRound is longer than other rounds: at the end of a slice one of two callers
// waits, up to a millisecond, until somebody sees that the other has gone. A service's
// callers do not all stop thirty times in a second.
const contestRound = time.Second

// AllModules in [Options.Module] measures on every software module.
const AllModules = "all"

// sides is the contest on one token.
type sides struct {
	*contest
	tok   *hsm.Token
	loops []*bare
	next  uint64
	bests map[int]time.Duration // of the loop, by number of threads
}

// hold measures a contest on the modules of o, each at 1, 2 and 8 callers. What
// counts is the worst of them.
func hold(ctx context.Context, o Options, c *contest) (res Result, err error) {
	if o.Round <= 0 {
		o.Round = contestRound
	}
	o = o.withDefaults()
	if o.slices == slicesOfRound {
		o.slices = 10 // long enough for callers to be busy in one, and for its ends to weigh nothing
	}
	modules := []string{o.Module}
	if o.Module == AllModules {
		modules = softtoken.Names()
	}
	for _, m := range modules {
		o.Module = m
		parts, err := c.on(ctx, o)
		if err != nil {
			return res, err
		}
		res.Parts = append(res.Parts, parts...)
	}
	parts := res.Parts
	res = slices.MinFunc(parts, func(a, b Result) int { return int(1e6 * (a.Ratio - b.Ratio)) })
	res.Parts = parts
	return res, nil
}

// on measures on one token.
func (c *contest) on(ctx context.Context, o Options) (parts []Result, err error) {
	cfg, done, err := scratch(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	tok, err := hsm.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	if err := c.master(ctx, tok); err != nil {
		return nil, err
	}
	s := &sides{contest: c, tok: tok, bests: map[int]time.Duration{}}
	for range 8 {
		loop, err := openBare(cfg.Module, cfg.Token, c.key.Label())
		if err != nil {
			return nil, err
		}
		defer loop.close()
		s.loops = append(s.loops, loop)
	}
	if err := c.agree(ctx, tok, s.loops[0]); err != nil {
		return nil, err
	}
	for _, callers := range []int{1, 2, 8} {
		r, err := s.measure(ctx, o, callers)
		if err != nil {
			return nil, err
		}
		parts = append(parts, r)
	}
	return parts, nil
}

// master makes the key in the token and, for the time of preparing, in memory.
func (c *contest) master(ctx context.Context, tok *hsm.Token) error {
	key := make([]byte, 16)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	soft := new(softkey.Ring)
	defer soft.Close()
	if err := soft.ImportScratch(ctx, c.key, key); err != nil {
		return err
	}
	if err := tok.Import(ctx, c.key, key); err != nil {
		return err
	}
	if err := tok.Require(ctx, c.key); err != nil {
		return err
	}
	return c.prepare(ctx, soft)
}

func (s *sides) measure(ctx context.Context, o Options, callers int) (Result, error) {
	threads, err := s.best(callers)
	if err != nil {
		return Result{}, err
	}
	r, err := paired(ctx, o, func(n int) (time.Duration, error) { return s.checks(ctx, callers, n) },
		func(n int) (time.Duration, error) { return s.bare(threads, n) })
	r.Name, r.Module, r.Callers, r.Unit = s.name, o.Module, callers, s.unit
	if r.Module == "" {
		r.Module = softtoken.Names()[0]
	}
	r.Limit = fmt.Sprintf("bare C loop of the fewest PKCS #11 calls on %d of up to %d threads, whichever is best", threads, callers)
	return r, err
}

// checks does n checks as so many callers do, each of which takes the next card
// when it has done one.
func (s *sides) checks(ctx context.Context, callers, n int) (time.Duration, error) {
	base, left := s.next, atomic.Int64{}
	s.next += uint64(n)
	left.Store(int64(n))
	return together(callers, func(int) error {
		for k := left.Add(-1); k >= 0; k = left.Add(-1) {
			if err := s.check(ctx, s.tok, (base+uint64(k))%cards); err != nil {
				return fmt.Errorf("measuring %s: %w", s.name, err)
			}
		}
		return nil
	})
}

// bare does n on so many threads, which share them out evenly.
func (s *sides) bare(threads, n int) (time.Duration, error) {
	base := s.next
	s.next += uint64(n)
	return together(threads, func(w int) error {
		first, end := n*w/threads, n*(w+1)/threads
		return s.loop(s.loops[w], end-first, base+uint64(first))
	})
}

// best is the number of threads, up to that of the callers, with which the loop
// is fastest.
func (s *sides) best(callers int) (threads int, err error) {
	for _, k := range []int{1, 2, 8} {
		if k > callers {
			break
		}
		for range 4 {
			d, err := s.bare(k, 1000)
			if err != nil {
				return 0, err
			}
			if best, ok := s.bests[k]; !ok || d < best {
				s.bests[k] = d
			}
		}
		if threads == 0 || s.bests[k] < s.bests[threads] {
			threads = k
		}
	}
	return threads, nil
}

// together runs workers at once and returns how long they took.
func together(workers int, one func(worker int) error) (time.Duration, error) {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	begin := time.Now()
	for w := 1; w < workers; w++ {
		wg.Go(func() { errs[w] = one(w) })
	}
	errs[0] = one(0)
	wg.Wait()
	return time.Since(begin), errors.Join(errs...)
}
