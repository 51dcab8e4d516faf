// Package group spreads key operations over several tokens that hold the same keys.
//
// Tokens may be slots of one module or of several. Work goes to the one that is
// least busy of those that are up. A call that finds a token unavailable is made
// again on the next one, which does no harm: nothing that a token computes
// changes anything. Each token is looked after every second, and at once when a
// call failed on it: one that does not answer is out, and comes back by itself
// once it answers and its keys are found to be those of the others. It is asked only
// for keys that were.
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

	turn chan struct{} // of those who ask for keys

	// mu is held while what follows changes, or what members say of themselves, and
	// never during a call of a token, which may not come back.
	mu       sync.Mutex
	required []keyref.Ref // grows only, as late does
	late     []keyref.Ref
}

type member struct {
	Member
	token  atomic.Pointer[hsm.Token] // nil: it could not be opened yet
	up     atomic.Bool               // set under Group.mu
	busy   atomic.Int64
	doubt  chan struct{}                       // look at once
	proven atomic.Bool                         // its keys were those of the others; changed under Group.mu
	same   atomic.Pointer[map[keyref.Ref]bool] // those keys; replaced under Group.mu
}

// has reports whether a key is ready, and was found to be that of the others.
func (m *member) has(r keyref.Ref) bool {
	same := m.same.Load()
	return same != nil && (*same)[r]
}

// Times of looking after tokens.
const (
	every    = time.Second
	patient  = 5 * time.Second // for one look
	thorough = 5 * time.Minute // for making all keys ready and comparing them
)

// New opens the tokens. One of them has to answer; those that do not are taken
// in as soon as they do. A refused PIN is an error, as is anything wrong with
// the only token.
func New(ctx context.Context, log *slog.Logger, all ...Member) (*Group, error) {
	g := &Group{log: log, turn: make(chan struct{}, 1)}
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
	return &Group{members: []*member{m}, turn: make(chan struct{}, 1)}
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
	_, err := on(ctx, g, call{name: "health"}, func(ctx context.Context, t *hsm.Token) (struct{}, error) { return struct{}{}, t.Health(ctx) })
	return err
}

// order is the tokens in the order in which a call tries them: those that are
// up, the least busy first. When none is, one may have come back: one whose keys are
// known to be right, or else it would answer wrongly. With a key, it is those that have
// the key.
func (g *Group) order(key keyref.Ref) []*member {
	if len(g.members) == 1 {
		return g.members
	}
	turn := int(g.next.Add(1) % uint64(len(g.members)))
	up, down := make([]*member, 0, len(g.members)), []*member(nil)
	for i := range g.members {
		switch m := g.members[(i+turn)%len(g.members)]; {
		case key.Usage != "" && !m.has(key):
		case m.up.Load():
			up = append(up, m)
		case m.token.Load() != nil && m.proven.Load():
			down = append(down, m)
		}
	}
	slices.SortStableFunc(up, func(a, b *member) int { return int(a.busy.Load() - b.busy.Load()) })
	if len(up) == 0 {
		return down
	}
	return up
}

// call is one: what traces call it, and its key.
type call struct {
	name string
	key  keyref.Ref // the zero value: there is none
}

// on makes a call on one token, or on the next while they are unavailable.
func on[T any](ctx context.Context, g *Group, c call, do func(context.Context, *hsm.Token) (T, error)) (out T, err error) {
	ctx, span := trace.Start(ctx, trace.HSM)
	if span.On() {
		span.Set(trace.Call, c.name)
		if c.key.Usage != "" {
			span.Set(trace.Usage, string(c.key.Usage))
		}
		defer func() { span.Done(err) }()
	}
	order := g.order(c.key)
	if len(order) == 0 {
		return out, g.nobody(c.key)
	}
	for _, m := range order {
		out, err = at(ctx, m, do)
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

// at makes a call on a token, which counts it for as long as it lasts.
func at[T any](ctx context.Context, m *member, do func(context.Context, *hsm.Token) (T, error)) (T, error) {
	m.busy.Add(1)
	defer m.busy.Add(-1)
	return do(ctx, m.token.Load())
}

// nobody is why there is no token for a call.
func (g *Group) nobody(key keyref.Ref) error {
	if key.Usage != "" && !g.knows(key) {
		return fmt.Errorf("using %v: %w: it was not asked for, or not all tokens have the same", key, hsm.ErrKeyMissing)
	}
	return fmt.Errorf("%w: no token answers", hsm.ErrUnavailable)
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
	out := func(err error) {
		said = err.Error()
		g.log.WarnContext(ctx, "a token of the HSM is out", "hsm", m.Name, "error", said)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.doubt:
		}
		was := m.up.Load()
		err := g.patiently(ctx, m, out)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && (!was || said != ""):
			g.log.InfoContext(ctx, "a token of the HSM is in again", "hsm", m.Name)
			said = ""
		case err != nil:
			m.up.Store(false) // nobody else has it up again
			if was || err.Error() != said {
				out(err)
			}
		}
	}
}

// patiently is look. A call of a module cannot be called off: a token that does not
// come back from one is out meanwhile, and nothing else can be done about it.
func (g *Group) patiently(ctx context.Context, m *member, out func(error)) error {
	looked := make(chan error, 1)
	g.looking.Go(func() { looked <- g.look(ctx, m) })
	late := time.NewTimer(patient + every)
	defer late.Stop()
	select {
	case err := <-looked:
		return err
	case <-late.C:
	}
	if m.up.Swap(false) {
		out(errHangs)
	}
	return <-looked
}

var errHangs = fmt.Errorf("%w: its module does not come back from being looked at: see to the HSM and the way to it, and if that does not help, start the service again", hsm.ErrUnavailable)

// look says whether a token may be given work, and lets it in.
func (g *Group) look(ctx context.Context, m *member) error {
	if m.token.Load() == nil {
		t, err := m.Open(ctx) // which tries no PIN twice
		if err != nil {
			return err
		}
		m.token.Store(t)
	}
	short, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if err := m.token.Load().Health(short); err != nil || m.up.Load() {
		return err
	}
	long, cancel := context.WithTimeout(ctx, thorough)
	defer cancel()
	return g.takeIn(long, m)
}
