// Package group spreads key operations over several tokens that hold the same keys.
//
// Tokens may be slots of one module or of several. Work goes to the one that is
// least busy of those that are up. A call that finds a token unavailable is made
// again on the next one, which does no harm: nothing that a token computes
// changes anything. Each token is looked after every second, and at once when a
// call failed on it: one that does not answer is out, and comes back by itself
// once it answers and its keys are found to be those of the others.
package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/internal/trace"
)

// Member is one token.
type Member struct {
	Name string // how it is called in logs and metrics
	Open func(context.Context) (*hsm.Token, error)
}

// Group is several tokens, or one. It is safe for concurrent use.
type Group struct {
	members []*member
	log     *slog.Logger
	next    atomic.Uint64 // turns among those that are equally busy
	stop    context.CancelFunc
	looking sync.WaitGroup

	mu       sync.Mutex // held while keys are asked for, or a token is taken in
	required []keyref.Ref
	late     []keyref.Ref
}

type member struct {
	Member
	token  atomic.Pointer[hsm.Token] // nil: it could not be opened yet
	up     atomic.Bool
	busy   atomic.Int64
	doubt  chan struct{} // look at once
	proven atomic.Bool   // its keys were those of the others; changed under Group.mu
}

// Times of looking after tokens.
const (
	every   = time.Second
	patient = 5 * time.Second // for one look
)

// New opens the tokens. One of them has to answer; those that do not are taken
// in as soon as they do. A refused PIN is an error, as is anything wrong with
// the only token.
func New(ctx context.Context, log *slog.Logger, all ...Member) (*Group, error) {
	g := &Group{log: log}
	var failed []error
	for _, m := range all {
		x := &member{Member: m, doubt: make(chan struct{}, 1)}
		g.members = append(g.members, x)
		t, err := m.Open(ctx)
		if err == nil {
			x.token.Store(t)
			x.up.Store(true)
			continue
		}
		failed = append(failed, err)
		if errors.Is(err, hsm.ErrPIN) || fault.KindOf(err) != fault.HSMUnavailable {
			return nil, errors.Join(err, g.Close())
		}
		log.WarnContext(ctx, "a token of the HSM is out", "hsm", m.Name, "error", err.Error())
	}
	if len(failed) == len(all) {
		return nil, errors.Join(failed...)
	}
	if len(all) > 1 {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		g.stop = cancel
		for _, m := range g.members {
			g.looking.Go(func() { g.lookAfter(ctx, m) })
		}
	}
	return g, nil
}

// Of is a group of one token, which its caller closes or the group.
func Of(t *hsm.Token) *Group {
	m := &member{Member: Member{Name: "1"}}
	m.proven.Store(true)
	m.token.Store(t)
	m.up.Store(true)
	return &Group{members: []*member{m}}
}

// Close ends the looking after and closes every token.
func (g *Group) Close() error {
	if g.stop != nil {
		g.stop()
		g.looking.Wait()
	}
	var errs []error
	for _, m := range g.members {
		if t := m.token.Load(); t != nil {
			errs = append(errs, t.Close())
		}
	}
	return errors.Join(errs...)
}

// First is the first token that is open, for what is done to one alone.
func (g *Group) First() *hsm.Token {
	for _, m := range g.members {
		if t := m.token.Load(); t != nil {
			return t
		}
	}
	return nil // New opened one
}

// State is how a token does.
type State struct {
	Name string
	Up   func() bool
	Busy func() int64 // calls that it is at
	// Recycled is that of the token, once it is open.
	Recycled func() hsm.Recycled
}

// States are those of all tokens, in their order.
func (g *Group) States() (all []State) {
	for _, m := range g.members {
		all = append(all, State{m.Name, m.up.Load, m.busy.Load, m.recycled})
	}
	return all
}

func (m *member) recycled() hsm.Recycled {
	if t := m.token.Load(); t != nil {
		return t.Recycled()
	}
	return hsm.Recycled{}
}

// Health fails when no token answers.
func (g *Group) Health(ctx context.Context) error {
	_, err := on(ctx, g, call{"health", ""}, func(ctx context.Context, t *hsm.Token) (struct{}, error) { return struct{}{}, t.Health(ctx) })
	return err
}

// order is the tokens in the order in which a call tries them: those that are
// up, the least busy first. When none is, one may have come back: one whose keys are
// known to be right, or else it would answer wrongly.
func (g *Group) order() []*member {
	if len(g.members) == 1 {
		return g.members
	}
	turn := int(g.next.Add(1) % uint64(len(g.members)))
	up, down := make([]*member, 0, len(g.members)), []*member(nil)
	for i := range g.members {
		if m := g.members[(i+turn)%len(g.members)]; m.up.Load() {
			up = append(up, m)
		} else if m.token.Load() != nil && m.proven.Load() {
			down = append(down, m)
		}
	}
	slices.SortStableFunc(up, func(a, b *member) int { return int(a.busy.Load() - b.busy.Load()) })
	if len(up) == 0 {
		return down
	}
	return up
}

// call is what traces tell of one: which, and what its key is for.
type call struct {
	name  string
	usage keyref.Usage // "": there is no key
}

// on makes a call on one token, or on the next while they are unavailable.
func on[T any](ctx context.Context, g *Group, c call, do func(context.Context, *hsm.Token) (T, error)) (out T, err error) {
	ctx, span := trace.Start(ctx, trace.HSM)
	if span.On() {
		span.Set(trace.Call, c.name)
		if c.usage != "" {
			span.Set(trace.Usage, string(c.usage))
		}
		defer func() { span.Done(err) }()
	}
	order := g.order()
	if len(order) == 0 {
		return out, fmt.Errorf("%w: no token answers", hsm.ErrUnavailable)
	}
	for _, m := range order {
		m.busy.Add(1)
		out, err = do(ctx, m.token.Load())
		m.busy.Add(-1)
		if err == nil || fault.KindOf(err) != fault.HSMUnavailable {
			return out, err
		}
		m.suspect()
		if ctx.Err() != nil {
			return out, err
		}
	}
	return out, err
}

// suspect has a token looked at.
func (m *member) suspect() {
	select {
	case m.doubt <- struct{}{}:
	default: // somebody asked already, or nobody looks
	}
}

// lookAfter takes a token out and in until ctx ends.
func (g *Group) lookAfter(ctx context.Context, m *member) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.doubt:
		}
		err := g.look(ctx, m)
		if ctx.Err() != nil {
			return
		}
		was := m.up.Swap(err == nil)
		switch {
		case err == nil && !was:
			g.log.InfoContext(ctx, "a token of the HSM is in again", "hsm", m.Name)
			said = ""
		case err != nil && (was || err.Error() != said):
			said = err.Error()
			g.log.WarnContext(ctx, "a token of the HSM is out", "hsm", m.Name, "error", said)
		}
	}
}

// look says whether a token may be given work.
func (g *Group) look(ctx context.Context, m *member) error {
	if m.token.Load() == nil {
		t, err := m.Open(ctx) // which tries no PIN twice
		if err != nil {
			return err
		}
		m.token.Store(t)
	}
	bound, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if err := m.token.Load().Health(bound); err != nil || m.up.Load() {
		return err
	}
	return g.takeIn(bound, m)
}
