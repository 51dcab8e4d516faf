package guess

import (
	"context"
	"sync"
)

// Lanes bound what is under way under one key. What is to be looked at before
// one begins, and is counted when one has ended, is never out of date by more than
// what its key lets on side by side. The zero value is ready; safe for concurrent
// use.
type Lanes struct {
	mu   sync.Mutex
	busy map[string]*lane
}

// Share is what one thing needs of a key: so much weight, beside others up to Most
// in all. What is alone may always be.
type Share struct {
	Key          string
	Weight, Most int
}

// lane is what is under way under a key, and who waits for it.
type lane struct {
	under   int // of weight
	limit   int
	waiting []*waiter // in their turn
}

type waiter struct {
	weight int
	place  place
	ready  chan struct{}
}

// place is one's own weight, and all that was under way when it was added.
type place struct{ weight, under, limit int }

// fits reports whether so much may be under way, or one is alone.
func (p place) fits(room int) bool { return p.under <= room || p.under == p.weight }

// Enter waits for a place under each of the keys, which are sorted and different.
// Then it looks how much room each has: what ended before is known by then. Where
// those who are under way could take all of it, Enter waits until they have ended and
// looks again. What a look fails with, Enter fails with. leave has to be called when
// it ended and is counted.
func (l *Lanes) Enter(ctx context.Context, shares []Share, look func(context.Context) (room func(i int) int, err error)) (leave func(), err error) {
	for {
		places, err := l.takeAll(ctx, shares)
		if err != nil {
			return nil, err
		}
		ok, err := l.mayStay(ctx, shares, places, look)
		if err != nil {
			return nil, err
		}
		if ok {
			return func() { l.leave(shares) }, nil
		}
	}
}

// mayStay looks whether there is room for places that were taken, and gives them back
// if there is not, or if nobody knows, as a look failed or panicked.
func (l *Lanes) mayStay(ctx context.Context, shares []Share, places []place, look func(context.Context) (func(int) int, error)) (ok bool, err error) {
	defer func() {
		if !ok {
			l.leave(shares)
		}
	}()
	room, err := look(ctx)
	if err != nil {
		return false, err
	}
	return l.fit(shares, places, room), nil
}

// Turn waits until nothing else is under way under a key.
func (l *Lanes) Turn(ctx context.Context, key string) (leave func(), err error) {
	s := []Share{{Key: key, Weight: 1, Most: 1}}
	if _, err := l.take(ctx, s[0]); err != nil {
		return nil, err
	}
	return func() { l.leave(s) }, nil
}

// takeAll takes a place under each key, or none.
func (l *Lanes) takeAll(ctx context.Context, shares []Share) ([]place, error) {
	places := make([]place, len(shares))
	for i, s := range shares {
		p, err := l.take(ctx, s)
		if err != nil {
			l.leave(shares[:i])
			return nil, err
		}
		places[i] = p
	}
	return places, nil
}

// fit reports whether all places have room, and remembers how much there is: nobody
// looks again before there is as much.
func (l *Lanes) fit(shares []Share, places []place, room func(i int) int) bool {
	all := true
	for i, p := range places {
		n := min(room(i), shares[i].Most)
		if n != p.limit {
			l.limit(shares[i].Key, n)
		}
		all = all && p.fits(n)
	}
	return all
}

// take waits for its turn under a key.
func (l *Lanes) take(ctx context.Context, s Share) (place, error) {
	p, a, w := l.come(s)
	if w == nil {
		return p, nil
	}
	select {
	case <-w.ready:
		return w.place, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !a.forget(w) { // its turn came at the same moment
		return w.place, nil
	}
	l.end(s.Key, a)
	return place{}, ctx.Err()
}

// come takes a place, or one among those who wait.
func (l *Lanes) come(s Share) (place, *lane, *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy == nil {
		l.busy = map[string]*lane{}
	}
	a := l.busy[s.Key]
	if a == nil {
		a = &lane{limit: s.Most}
		l.busy[s.Key] = a
	}
	if len(a.waiting) == 0 {
		if p, ok := a.admit(s.Weight); ok {
			return p, a, nil
		}
	}
	w := &waiter{weight: s.Weight, ready: make(chan struct{})}
	a.waiting = append(a.waiting, w)
	return place{}, a, w
}

func (l *Lanes) limit(key string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[key].limit = n
}

func (l *Lanes) leave(shares []Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range shares {
		a := l.busy[s.Key]
		a.under -= s.Weight
		l.end(s.Key, a)
	}
}

// end lets on those whose turn it is after somebody ended, and forgets a lane that
// nobody uses.
func (l *Lanes) end(key string, a *lane) {
	for len(a.waiting) > 0 {
		w, ok := a.waiting[0], false
		if w.place, ok = a.admit(w.weight); !ok {
			break
		}
		close(w.ready)
		a.waiting = a.waiting[1:]
	}
	if a.under == 0 { // who waits behind nobody is let on
		delete(l.busy, key)
	}
}

// admit gives a place to who may have one now.
func (a *lane) admit(weight int) (place, bool) {
	p := place{weight, a.under + weight, a.limit}
	if !p.fits(a.limit) {
		return place{}, false
	}
	a.under = p.under
	return p, true
}

// forget takes out who waits. It reports whether it was there.
func (a *lane) forget(w *waiter) bool {
	for i := range a.waiting {
		if a.waiting[i] == w {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			return true
		}
	}
	return false
}
