package issuerhost

import (
	"context"
	"sync"
)

// oneAtATime has a caller's checks of one card's values go one after another in
// this process. A value has three digits: checks that all look at the count
// before any of them counts could try every one of them.
type oneAtATime struct {
	mu    sync.Mutex
	busy  map[checked]*door
	owing map[checked]bool
	all   bool
}

// mostOwing bounds the memory: callers whom another issuer names may be many.
const mostOwing = 10_000

// owe remembers that a wrong value was judged and could not be counted. Where too many
// were, everybody owes.
func (o *oneAtATime) owe(c checked) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owing == nil {
		o.owing = map[checked]bool{}
	}
	if o.all = o.all || len(o.owing) >= mostOwing; !o.all {
		o.owing[c] = true
	}
}

// owes reports whether a check has to be counted before it is made.
func (o *oneAtATime) owes(c checked) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all || o.owing[c]
}

// checked is what a caller checks.
type checked struct {
	client string
	name   [32]byte
}

// door lets one through.
type door struct {
	open  chan struct{} // has room for one
	users int
}

// enter waits for the caller's turn; leave has to be called when err is nil.
func (o *oneAtATime) enter(ctx context.Context, c checked) (leave func(), err error) {
	d := o.come(c)
	select {
	case d.open <- struct{}{}:
		return func() { <-d.open; o.gone(c, d) }, nil
	case <-ctx.Done():
		o.gone(c, d)
		return nil, ctx.Err()
	}
}

func (o *oneAtATime) come(c checked) *door {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy == nil {
		o.busy = map[checked]*door{}
	}
	d := o.busy[c]
	if d == nil {
		d = &door{open: make(chan struct{}, 1)}
		o.busy[c] = d
	}
	d.users++
	return d
}

func (o *oneAtATime) gone(c checked, d *door) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d.users--; d.users == 0 {
		delete(o.busy, c)
	}
}
