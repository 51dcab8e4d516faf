//go:build cgo

package hsm

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/trace"
)

// pool lends sessions, one to a caller at a time and never more than its cap.
type pool struct {
	t    *Token
	free chan struct{} // one for each session that may be lent
	mu   sync.Mutex
	idle []pooled
	// refuses is closed while nobody may wait
	refuses atomic.Pointer[chan struct{}]
}

type pooled struct {
	session pkcs11.SessionHandle
	gen     uint64
}

func newPool(t *Token, n int) *pool {
	p := &pool{t: t, free: make(chan struct{}, n)}
	p.refuse(false)
	for range n {
		p.free <- struct{}{}
	}
	return p
}

// get waits for a session until ctx ends, or leave is closed. It is of the state of then, not of
// before: a module that was recycled meanwhile gives numbers of old handles to
// other objects.
func (p *pool) get(ctx context.Context, leave <-chan struct{}) (s pooled, st *state, err error) {
	st = p.t.state.Load()
	if err := ctx.Err(); err != nil {
		return s, st, err
	}
	select {
	case <-leave:
		return s, st, errSilent
	default:
	}
	select {
	case <-leave:
		return s, st, errSilent
	case _, open := <-p.free:
		if !open {
			return s, st, errClosed
		}
	case <-ctx.Done():
		return s, st, ctx.Err()
	case <-*p.refuses.Load():
		return s, st, errStalled
	}
	st = p.t.state.Load()
	if s, ok := p.pop(st.gen); ok {
		return s, st, nil
	}
	h, err := p.t.openSession()
	if err != nil {
		p.free <- struct{}{}
		return s, st, err
	}
	return pooled{h, st.gen}, st, nil
}

// refuse lets go of whoever waits, and of whoever comes until it is called with false.
func (p *pool) refuse(yes bool) {
	if yes {
		close(*p.refuses.Load())
		return
	}
	c := make(chan struct{})
	p.refuses.Store(&c)
}

// pop takes an idle session of state gen, and closes those of older ones.
func (p *pool) pop(gen uint64) (s pooled, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		s, p.idle = p.idle[len(p.idle)-1], p.idle[:len(p.idle)-1]
		if s.gen == gen {
			return s, true
		}
		p.t.mod.ctx.CloseSession(s.session)
	}
	return s, false
}

// put takes a session back. After any error it is closed instead: an operation
// may still be active in it, and the next caller would meet it.
func (p *pool) put(s pooled, err error) {
	if _, bad := p.t.spoiled.LoadAndDelete(s.session); bad || err != nil {
		p.t.mod.ctx.CloseSession(s.session)
	} else {
		p.mu.Lock()
		p.idle = append(p.idle, s)
		p.mu.Unlock()
	}
	p.free <- struct{}{}
}

// close waits until every session is back, then closes them all.
func (p *pool) close() {
	for range cap(p.free) {
		<-p.free
	}
	close(p.free)
	p.empty()
}

// with runs fn with a session of its own. When the session or login turn out
// to be lost, both are made anew and fn runs once more.
func (t *Token) with(ctx context.Context, doing string, fn func(s pkcs11.SessionHandle, st *state) error) error {
	return t.unless(ctx, nil, doing, fn)
}

// unless is with, for who does not wait once leave is closed.
func (t *Token) unless(ctx context.Context, leave <-chan struct{}, doing string, fn func(s pkcs11.SessionHandle, st *state) error) error {
	for try := 0; ; try++ {
		s, st, err := t.pool.get(ctx, leave)
		if err == nil {
			trace.Of(ctx).Waited()
			err = fn(s.session, st)
			t.pool.put(s, err)
		}
		if err == nil || try > 0 || !lost(err) {
			return opError(doing, err)
		}
		if err := t.recover(st.gen); err != nil {
			return opError(doing, err)
		}
	}
}

// withKey is with for a key that was required.
func (t *Token) withKey(ctx context.Context, doing string, ref keyref.Ref, typ keyref.Type, fn func(pkcs11.SessionHandle, *key) error) error {
	return t.unless(ctx, t.singles.gate(), doing+" "+ref.String(), func(s pkcs11.SessionHandle, st *state) error {
		k, err := st.key(ref)
		if err != nil {
			return err
		}
		if k.spec.Type != typ {
			return ErrKeyUnfit
		}
		t.singles.begin()
		defer t.singles.end()
		return fn(s, k)
	})
}
