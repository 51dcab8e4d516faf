//go:build cgo

package hsm

import (
	"context"
	"testing"
	"time"
)

// alone is an engine of one worker, which a loyal caller has whose call began and
// ended now, while so many jobs wait. Its timer does nothing.
func alone(waiting int) (e *engine, w *worker, now time.Time) {
	w = &worker{wake: make(chan struct{}, 1), turns: turns{atOnce: time.Minute, back: loyal, timer: time.NewTimer(time.Hour)}}
	e = newEngine(nil)
	e.all = []*worker{w}
	for range waiting {
		e.queue = append(e.queue, &job{done: make(chan struct{})})
	}
	return e, w, time.Now()
}

func closed(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestTurnIsKept(t *testing.T) {
	e, w, now := alone(1)
	if !e.keep(t.Context(), w, now, now) {
		t.Fatal("a loyal caller gave the worker back while one other waits")
	}
	if len(e.idle) != 1 || len(e.queue) != 1 || !w.turns.watched {
		t.Errorf("%d workers idle, %d jobs wait, watched %t: want 1, 1, true", len(e.idle), len(e.queue), w.turns.watched)
	}
}

func TestTurnEnds(t *testing.T) {
	e, w, now := alone(1)
	j := e.queue[0]
	w.turns.until = now
	if !e.keep(t.Context(), w, now, now) || j.lent != w || !closed(j.done) {
		t.Fatal("who waited did not get the worker when the turn was over")
	}
	if len(e.idle) != 0 || len(e.queue) != 0 || !w.turns.until.IsZero() {
		t.Errorf("%d workers idle, %d jobs wait, turn until %v: want none", len(e.idle), len(e.queue), w.turns.until)
	}
	if e.forget(j) != w {
		t.Error("a caller that went away kept the worker")
	}
}

func TestNoTurn(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		waiting int
		set     func(*engine, *worker)
		took    time.Duration
	}{
		"nobody waits":              {waiting: 0},
		"two wait":                  {waiting: 2},
		"the caller was never seen": {waiting: 1, set: func(_ *engine, w *worker) { w.turns.back = loyal - 1 }},
		"there is another worker":   {waiting: 1, set: func(e *engine, w *worker) { e.all = append(e.all, w) }},
		"the module is made anew":   {waiting: 1, set: func(e *engine, _ *worker) { e.held = true }},
		"the module is slow":        {waiting: 1, took: slow + 1},
		"the caller goes away":      {waiting: 1, ctx: gone},
	} {
		e, w, now := alone(c.waiting)
		w.turns.until = now // whoever has a turn would have to hand the worker over
		if c.set != nil {
			c.set(e, w)
		}
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		if e.keep(c.ctx, w, now, now.Add(c.took)) || len(e.queue) != c.waiting || len(e.idle) != 0 {
			t.Errorf("%s: there was a turn", name)
		}
	}
}

func TestCallerStaysAway(t *testing.T) {
	e, w, now := alone(1)
	w.turns.atOnce, w.turns.timer = 0, nil
	j := e.queue[0]
	if !e.keep(t.Context(), w, now, now) {
		t.Fatal("there was no turn")
	}
	<-w.wake // by the timer
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(w.batch) != 1 || w.batch[0] != j || len(e.queue) != 0 || len(e.idle) != 0 {
		t.Errorf("the worker's goroutine has %d jobs, %d wait, %d workers idle: want 1, 0, 0", len(w.batch), len(e.queue), len(e.idle))
	}
	if w.turns.back != 0 || !w.turns.until.IsZero() {
		t.Error("a caller that stayed away is still thought loyal")
	}
}

func TestCallerIsWatched(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(*engine, *worker)
		watched bool
	}{
		"it has the worker":     {func(e *engine, _ *worker) { e.idle = nil }, true},
		"it may come yet":       {func(_ *engine, w *worker) { w.turns.left = time.Now().Add(time.Minute) }, true},
		"nobody waits any more": {func(e *engine, _ *worker) { e.queue = nil }, false},
		"the turn is over":      {func(_ *engine, w *worker) { w.turns.until = time.Time{} }, false},
	} {
		e, w, now := alone(1)
		e.keep(t.Context(), w, now, now)
		c.set(e, w)
		e.look(w)
		if len(w.wake) != 0 || w.turns.watched != c.watched {
			t.Errorf("%s: woken %t, watched %t, want false, %t", name, len(w.wake) != 0, w.turns.watched, c.watched)
		}
	}
}

func TestLoyalty(t *testing.T) {
	now := time.Now()
	s := turns{atOnce: atOnce, left: now}
	for range 3 * loyal {
		s.came(now.Add(atOnce))
	}
	if s.back != 2*loyal {
		t.Errorf("%d calls that came at once count %d, want %d", 3*loyal, s.back, 2*loyal)
	}
	for range 3 * loyal {
		s.came(now.Add(atOnce + 1))
	}
	if s.back != 0 {
		t.Errorf("a caller that is late each time counts %d", s.back)
	}
}
