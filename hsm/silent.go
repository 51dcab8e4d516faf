//go:build cgo

package hsm

import (
	"fmt"
	"sync"
	"time"
)

// A call of a module that does not return cannot be called off: it keeps its caller
// and its session, or its worker. When nothing comes back of what is computed, the
// token is not well, and whoever waits for their turn, or comes, is told so; the next
// answer ends that. See docs/decisions/168.

// leastLooks is how often somebody has to have looked in vain: a process that was
// stopped for a while, or has no processor, is no module that hangs.
const leastLooks = 3

var errSilent = fmt.Errorf("%w: what its module was asked to compute does not come back", ErrUnavailable)

// silence is for how long a count stood still while there was something to count.
type silence struct {
	count uint64
	begun time.Time // zero: it moves
	looks int
}

// lasts looks once more.
func (s *silence) lasts(waits bool, count uint64) bool {
	now := time.Now()
	if !waits || s.begun.IsZero() || count != s.count {
		*s = silence{count: count}
		if waits {
			s.begun = now
		}
		return false
	}
	s.looks++
	return s.looks >= leastLooks && now.Sub(s.begun) >= stallAfter
}

// speaks fails while nothing comes back from t, and has callers told.
func (t *Token) speaks() error {
	if engine, single := t.engine.silent(), t.singles.silent(); engine || single {
		return errSilent
	}
	return nil
}

// silent looks whether every worker is in the module and was given nothing new for
// long, and lets go of whoever waits for one then.
func (e *engine) silent() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.silence.lasts(len(e.idle) == 0, e.given) {
		return false
	}
	if e.mute == nil {
		e.mute = errSilent
		close(e.leave)
	}
	return true
}

// spoke ends what silent began. The engine is locked.
func (e *engine) spoke() {
	if e.mute != nil {
		e.mute = nil
		e.leave = make(chan struct{})
	}
}

// singles are the calls with one key that are made in sessions of the pool.
type singles struct {
	mu      sync.Mutex
	running int
	ended   uint64
	silence silence
	mute    bool
	leave   chan struct{} // closed while nobody may wait
}

func newSingles() *singles { return &singles{leave: make(chan struct{})} }

// silent looks whether calls are in the module and none came back for long, and lets
// go of whoever waits for a session then.
func (s *singles) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.silence.lasts(s.running > 0, s.ended) {
		return false
	}
	if !s.mute {
		s.mute = true
		close(s.leave)
	}
	return true
}

// gate is closed while nothing comes back.
func (s *singles) gate() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leave
}

func (s *singles) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

func (s *singles) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.ended++; s.mute {
		s.mute = false
		s.leave = make(chan struct{})
	}
}
