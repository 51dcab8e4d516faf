package issuerhost

import (
	"context"
	"sync"
)

// oneAtATime has a caller's checks of one card's values go one after another in
// this process. A value has three digits: checks that all look at the count
// before any of them counts could try every one of them.
type oneAtATime struct {
	mu   sync.Mutex
	busy map[checked]*door
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
