//go:build cgo

package hsm

import "time"

// hold lets running jobs end and has others queue until letGo. When that lasts too
// long, it holds nothing and reports false. module.turn must be held, so that
// nobody closes the engine.
func (e *engine) hold(until time.Time) bool {
	late := time.AfterFunc(time.Until(until), func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.quiet.Broadcast()
	})
	defer late.Stop()
	e.mu.Lock()
	for e.held = true; len(e.idle) < len(e.all) && time.Now().Before(until); {
		e.quiet.Wait()
	}
	ok := len(e.idle) == len(e.all)
	e.mu.Unlock()
	if !ok {
		e.letGo()
	}
	return ok
}

func (e *engine) letGo() {
	e.mu.Lock()
	e.held = false
	ws := e.idle
	e.idle = nil
	e.mu.Unlock()
	for _, w := range ws {
		e.release(w)
	}
}

// discard closes the workers' sessions. The engine must be held.
func (e *engine) discard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.all {
		w.discard()
	}
}

// hold takes every session until letGo. When that lasts too long, it holds nothing
// and reports false. module.turn must be held.
func (p *pool) hold(until time.Time) bool {
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for n := range cap(p.free) {
		select {
		case <-p.free:
			continue
		case <-late.C:
		}
		for range n {
			p.free <- struct{}{}
		}
		return false
	}
	return true
}

func (p *pool) letGo() {
	for range cap(p.free) {
		p.free <- struct{}{}
	}
}

// empty closes the sessions that nobody has.
func (p *pool) empty() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.idle {
		p.t.mod.ctx.CloseSession(s.session)
	}
	p.idle = nil
}
