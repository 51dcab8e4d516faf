// Package stream gives each reader of events what is new, in order, from one
// look at the events that all readers share.
//
// A reader first catches up by questions of its own, as it would page by page,
// and then joins the others: from there on events come to it from the shared
// look. A reader that does not keep up is dropped and goes on later from the
// last position it saw; nothing is lost, because events stay in the outbox.
package stream

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tapvault/tapvault/event"
	"github.com/tapvault/tapvault/internal/fault"
)

// Sentinels.
var (
	// ErrMany reports a caller that reads as many streams as it may.
	ErrMany = fault.New(fault.TooFast, "this caller reads as many streams of events as it may")
	// ErrFull reports that there are as many readers as there may be.
	ErrFull = fault.New(fault.Overloaded, "as many streams of events are read as there may be")
	// ErrSlow reports a reader that did not keep up.
	ErrSlow = fault.New(fault.Overloaded, "the reader of a stream of events did not keep up")
	// ErrClosed reports that no stream is read any more: the service ends.
	ErrClosed = fault.New(fault.Overloaded, "streams of events have ended")
)

// Source keeps events. It is safe for concurrent use.
type Source interface {
	// List returns events behind a position, in order, at most limit of them, or
	// [event.ErrAhead].
	List(ctx context.Context, f event.Filter, after int64, limit int) ([]event.Event, error)
	// Last returns the last position that an event has.
	Last(ctx context.Context) (int64, error)
}

// Config is what a [Hub] is made of. Source is required.
type Config struct {
	Source    Source
	Every     time.Duration // between two looks; 0: 500 ms
	PerCaller int           // streams of one caller; 0: 4
	InAll     int           // streams in all; 0: 256
	Buffer    int           // events that wait for one reader; 0: 256
	Log       *slog.Logger  // nil: nothing is logged
}

// page is how many events one question asks for.
const page = 100

// Hub looks at the events and hands them to its readers. It is safe for
// concurrent use.
type Hub struct {
	cfg     Config
	mu      sync.Mutex
	closed  bool
	known   bool  // head was read at least once
	head    int64 // every event up to here was handed out
	readers map[*Reader]bool
	callers map[string]int
}

// New returns a hub; [Hub.Run] makes it look.
func New(cfg Config) (*Hub, error) {
	if cfg.Source == nil {
		return nil, errors.New("streaming events: a source is required")
	}
	for v, d := range map[*int]int{&cfg.PerCaller: 4, &cfg.InAll: 256, &cfg.Buffer: 256} {
		if *v == 0 {
			*v = d
		}
	}
	if cfg.Every == 0 {
		cfg.Every = 500 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Hub{cfg: cfg, readers: map[*Reader]bool{}, callers: map[string]int{}}, nil
}

// Run looks at the events until ctx ends, then closes the hub.
func (h *Hub) Run(ctx context.Context) {
	defer h.Close()
	tick := time.NewTicker(h.cfg.Every)
	defer tick.Stop()
	for {
		if err := fault.Safely(func() error { return h.Look(ctx) }); err != nil && ctx.Err() == nil {
			h.cfg.Log.WarnContext(ctx, "events could not be looked at", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close ends every stream with [ErrClosed] and lets none begin.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for r := range h.readers {
		r.end(ErrClosed)
	}
}

// Look takes one look and hands out what is new.
func (h *Hub) Look(ctx context.Context) error {
	for {
		head, listening := h.state()
		if !listening {
			return h.skip(ctx)
		}
		found, err := h.cfg.Source.List(ctx, event.Filter{}, head, page)
		if errors.Is(err, event.ErrAhead) {
			h.begin()
		}
		if err != nil {
			return err
		}
		h.hand(found)
		if len(found) < page {
			return nil
		}
	}
}

// state returns the head, and whether anyone waits for what is behind it.
func (h *Hub) state() (head int64, listening bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		if r.joined {
			return h.head, true
		}
	}
	return h.head, false
}

// skip moves the head past events that nobody waits for, unless somebody began
// to wait meanwhile.
func (h *Hub) skip(ctx context.Context) error {
	last, err := h.cfg.Source.Last(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		if r.joined {
			return nil
		}
	}
	h.head, h.known = last, true
	return nil
}

// begin ends every stream after the database was put back, and has the hub find
// its place anew. Readers that come back are told that theirs is gone.
func (h *Hub) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		r.end(ErrClosed)
	}
	h.head, h.known = 0, false
}

// hand gives events to the readers that joined. It waits for none of them.
func (h *Hub) hand(events []event.Event) {
	if len(events) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		if r.joined {
			r.offer(events)
		}
	}
	h.head = events[len(events)-1].Position
}

// Open begins a stream behind a position. The caller closes it.
func (h *Hub) Open(caller string, f event.Filter, after int64) (*Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.callers[caller] >= h.cfg.PerCaller:
		return nil, ErrMany
	case len(h.readers) >= h.cfg.InAll:
		return nil, ErrFull
	}
	r := &Reader{hub: h, caller: caller, filter: f, after: max(after, 0),
		live: make(chan event.Event, h.cfg.Buffer), gone: make(chan struct{})}
	h.readers[r] = true
	h.callers[caller]++
	return r, nil
}

// Reader is one stream. One goroutine reads it.
type Reader struct {
	hub    *Hub
	caller string
	filter event.Filter
	after  int64 // it has seen everything up to here; of whoever reads it until it joined
	live   chan event.Event

	joined bool // guarded by the hub, as the next two
	why    error
	gone   chan struct{}
}

// Close ends the stream.
func (r *Reader) Close() {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	if !r.hub.readers[r] {
		return
	}
	r.end(ErrClosed)
	delete(r.hub.readers, r)
	if r.hub.callers[r.caller]--; r.hub.callers[r.caller] == 0 {
		delete(r.hub.callers, r.caller)
	}
}

// end says why there will be no more events. The hub is locked.
func (r *Reader) end(why error) {
	if r.why == nil {
		r.why, r.joined = why, false
		close(r.gone)
	}
}

// offer hands events to a reader, or drops it. The hub is locked.
func (r *Reader) offer(events []event.Event) {
	for _, e := range events {
		if e.Position <= r.after || !r.filter.Matches(e) {
			continue
		}
		select {
		case r.live <- e:
		default:
			r.end(ErrSlow)
			return
		}
	}
}

// Next returns the events that come next, in order, or none when there was none
// for as long as wait. An error ends the stream.
func (r *Reader) Next(ctx context.Context, wait time.Duration) ([]event.Event, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-r.gone:
			return nil, r.why
		case <-ctx.Done():
			return nil, ctx.Err()
		default:
		}
		if r.isJoined() {
			return r.await(ctx, timer.C)
		}
		found, err := r.catchUp(ctx)
		if err != nil || len(found) > 0 {
			return found, err
		}
		if r.isJoined() {
			return r.await(ctx, timer.C)
		}
		select { // the hub has not looked yet, or looked meanwhile
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return nil, nil
		case <-time.After(min(wait, 20*time.Millisecond)):
		}
	}
}

// await returns what the hub hands a reader that has joined, or nothing when enough is
// heard.
func (r *Reader) await(ctx context.Context, enough <-chan time.Time) ([]event.Event, error) {
	select { // what is there goes before a wait that is over
	case e := <-r.live:
		return r.drain(e), nil
	default:
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.gone:
		return nil, r.why
	case e := <-r.live:
		return r.drain(e), nil
	case <-enough:
		return nil, nil
	}
}

func (r *Reader) isJoined() bool {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	return r.joined
}

// drain takes what waits behind first, up to a page.
func (r *Reader) drain(first event.Event) []event.Event {
	out := []event.Event{first}
	for len(out) < page {
		select {
		case e := <-r.live:
			out = append(out, e)
		default:
			return out
		}
	}
	return out
}

// catchUp asks for a page. When it is not full, whatever the hub handed out
// before the question has been seen: the reader joins if that is still so.
func (r *Reader) catchUp(ctx context.Context) ([]event.Event, error) {
	r.hub.mu.Lock()
	head, known := r.hub.head, r.hub.known
	r.hub.mu.Unlock()
	found, err := r.hub.cfg.Source.List(ctx, r.filter, r.after, page)
	if err != nil {
		return nil, err
	}
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	if len(found) > 0 {
		r.after = found[len(found)-1].Position
	}
	if len(found) < page && known && r.hub.head == head && r.why == nil {
		r.after, r.joined = max(r.after, head), true
	}
	return slices.Clip(found), nil
}
