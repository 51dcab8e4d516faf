// Package denylist publishes whom readers are not to take.
//
// Nobody publishes: what is on the list follows from the state of tokens and
// from what operators ordered. Before each answer, and every second, the list
// as it is published is compared with the list as it ought to be, and the
// difference is a new version. So whoever suspends a token, for whatever
// reason, has put it on the list, and whoever resumes it has taken it off.
package denylist

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// Sentinels.
var (
	// ErrTooOld reports a version from which no delta leads on.
	ErrTooOld = fault.New(fault.ListTooOld, "no delta leads on from this version")
	// ErrBehind reports that another process published meanwhile.
	ErrBehind = fault.New(fault.StoreDown, "the deny list was published by another process meanwhile")
	// ErrOrder reports an order that no entry can be made of.
	ErrOrder = fault.New(fault.Malformed, "not an entry that an operator can order")
)

// ID names an entry without showing a token's number.
type ID struct {
	Kind deny.Kind
	Name string // token reference; key id in digits; terminal number in hex
}

// Line is an entry as it is kept.
type Line struct {
	ID
	Ctr   uint16
	Until time.Time // whole seconds
}

// Change is what a version did to one entry.
type Change struct {
	Line
	Removed bool
}

// Version is one published version. The zero value is the list before there was
// anything on it.
type Version struct {
	Number   uint64
	At       time.Time
	Switches deny.Switches
}

// Tokens is what this package needs of the vault.
type Tokens interface {
	// Denied lists tokens that may not pay and whose windows end after a moment.
	Denied(ctx context.Context, after time.Time) ([]token.Denied, error)
	// Numbers returns the numbers of tokens.
	Numbers(ctx context.Context, refs []token.Ref) (map[token.Ref]token.Number, error)
}

// Store keeps what was published. Safe for concurrent use by many processes.
type Store interface {
	// Head returns the last version.
	Head(ctx context.Context) (Version, error)
	// Published returns the last version with its lines, as of one moment.
	Published(ctx context.Context) (Version, []Line, error)
	// Changes lists what happened behind a version, in order, and the last
	// version, as of one moment. [ErrTooOld] says that some of it is forgotten,
	// or that there is no such version.
	Changes(ctx context.Context, after uint64) (Version, []Change, error)
	// Publish makes v, the next version, durable with its changes. [ErrBehind]
	// says that somebody else published it. Entries that have ended at v.At may be
	// forgotten.
	Publish(ctx context.Context, v Version, changes []Change) error
	// Forget drops versions older than history, and what they changed, though
	// never the last one.
	Forget(ctx context.Context, history time.Time) error
}

// Orders keeps what operators ordered. Safe for concurrent use.
type Orders interface {
	// Wanted returns the orders in force after a moment.
	Wanted(ctx context.Context, after time.Time) ([]Line, deny.Switches, error)
	// Order keeps an order, in the place of an earlier one about the same. It has
	// one effect however often the same attempt comes.
	Order(ctx context.Context, caller string, a access.Attempt, o Order, at time.Time) error
}

// History is what is known of versions that were published.
type History interface {
	// After returns when the version after v was published; ok is false when v
	// is the last one. known is false when there never was a version v.
	After(ctx context.Context, v uint64) (at time.Time, ok, known bool, err error)
	// Listed returns the first version at or after a moment that listed an entry.
	Listed(ctx context.Context, id ID, since time.Time) (v Version, ok bool, err error)
}

// Config is what a [Service] is made of. Fields without a default are required.
type Config struct {
	Tokens  Tokens
	Store   Store
	Orders  Orders
	History History
	Gate    audit.Gate
	// Sign signs with the HSM's deny-sign key, whose id readers know.
	Sign  func(ctx context.Context, digest [32]byte) ([64]byte, error)
	KeyID uint16
	// Policy is what terminals are told; its head is made here.
	Policy deny.Policy
	// Ranges are those of the policy as they are known by now; nil: Policy's.
	Ranges func() []deny.Range

	Refresh time.Duration // how long one signature serves; 0: 5 min
	Valid   time.Duration // how long readers may rely on a list; 0: 24 h
	Deltas  time.Duration // how long a delta leads on from a version; 0: 48 h
	Log     *slog.Logger  // nil: nothing is logged
	Now     func() time.Time
	// Clock is what all processes go by, whatever their own clocks say, such as that
	// of the database; nil: Now.
	Clock func(ctx context.Context) (time.Time, error)
}

// history is how long versions are kept: evidence of taps is taken for 30 days.
const history = 45 * 24 * time.Hour

// maxDeltas bounds how far back deltas lead.
const maxDeltas = 40 * 24 * time.Hour

// linger is how long an entry outlives its token's window: slots end with the
// hour, and clocks disagree.
const linger = time.Hour

// Service answers readers. Safe for concurrent use.
type Service struct {
	cfg   Config
	began atomic.Uint64 // reconciliations that were begun
	off   atomic.Int64  // how much Clock is ahead of Now, in nanoseconds

	unprinted atomic.Uint64

	mu     sync.Mutex // guards the rest
	done   uint64     // the last one that succeeded
	loaded bool
	head   Version
	lines  map[ID]Line
	kept   cache
	known  map[token.Ref]token.Number
	policy struct {
		issued time.Time
		ranges []deny.Range
		doc    []byte
	}
}

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Tokens == nil || c.Store == nil || c.Orders == nil || c.History == nil || c.Gate.Recorder == nil || c.Sign == nil {
		return nil, errors.New("configuring the deny list: tokens, stores, gate and signing key are required")
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&c.Refresh, 5 * time.Minute}, {&c.Valid, deny.Outdated}, {&c.Deltas, 48 * time.Hour}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if c.Refresh < time.Second || c.Refresh > deny.Stale/2 || c.Valid <= deny.Stale || c.Deltas > maxDeltas {
		return nil, errors.New("configuring the deny list: it is refreshed within 15 minutes and valid for more than 30")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Clock == nil {
		c.Clock = func(context.Context) (time.Time, error) { return c.Now(), nil }
	}
	return &Service{cfg: c, known: map[token.Ref]token.Number{}}, nil
}

// Unprinted is how often an entry was left out of a document because it cannot be read.
func (s *Service) Unprinted() uint64 { return s.unprinted.Load() }

// Run publishes every interval until ctx ends, so that the moment of a
// suspension and of its entry are close, whether readers ask or not.
func (s *Service) Run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing, forgot := false, time.Time{}
	for ctx.Err() == nil {
		err := s.Publish(ctx)
		if now := s.now(); err == nil && now.Sub(forgot) >= time.Hour {
			forgot = now
			err = s.cfg.Store.Forget(ctx, now.Add(-history))
		}
		if err != nil && ctx.Err() == nil && !failing {
			s.cfg.Log.ErrorContext(ctx, "the deny list cannot be published", "error", err.Error())
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
