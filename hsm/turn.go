//go:build cgo

package hsm

import (
	"context"
	"slices"
	"time"
)

// A turn is the time for which a caller keeps the worker while another waits,
// and watch how often somebody looks whether the caller still comes back to it:
// not often, because each look wakes a thread, and Go's monitor with it.
// A caller comes at once if its call begins so soon after the last one ended, and
// is loyal after so many of these.
const (
	turn   = 4 * time.Millisecond
	watch  = time.Millisecond
	atOnce = 20 * time.Microsecond
	loyal  = 4
)

// turns are for two callers of the only worker who do nothing but call. Handing the
// worker to and fro after each call would wake a thread for each two calls, which
// costs a quarter of one. So whoever has it keeps it for a turn: it lies ready, though
// a job waits, and then the caller of that job has it for a turn. The wait between
// two calls is longer, once in a turn, and the rest of them shorter.
//
// It is done only for callers who were seen to come back, as requests from
// outside do not. Should one stay away, the worker's own goroutine takes what waits, after
// a watch.
//
// Whoever has the worker owns left and back; the rest, but for atOnce, is under the engine's lock.
type turns struct {
	atOnce  time.Duration
	left    time.Time // when the last call ended
	back    int       // calls that came at once, less those that did not: 0 to 2*loyal
	until   time.Time // the end of the present turn; zero: there is none
	timer   *time.Timer
	watched bool // timer runs
}

// came counts a call that begins now.
func (t *turns) came(now time.Time) {
	if now.Sub(t.left) <= t.atOnce {
		t.back = min(t.back+1, 2*loyal)
	} else {
		t.back = max(t.back-1, 0)
	}
}

// keep is what a caller does first with the worker after its call: true when
// that is all, because the worker lies ready for its next, or who waits has it.
func (e *engine) keep(ctx context.Context, w *worker, begun, ended time.Time) bool {
	t := &w.turns
	t.left = ended
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.all) > 1 || len(e.queue) != 1 || e.held || t.back < loyal || ended.Sub(begun) > slow || ctx.Err() != nil {
		t.until = time.Time{}
		return false
	}
	if t.until.IsZero() {
		t.until = ended.Add(turn)
	}
	if ended.Before(t.until) {
		e.idle = append(e.idle, w)
		e.watch(w)
		return true
	}
	t.until = time.Time{}
	// That is a rest, if the other yields once. A goroutine that is woken by one
	// that goes to sleep runs on in what is left of its 10 ms, so without a yield the
	// scheduler takes two who take turns for one who never rests.
	w.rested = ended
	e.given++
	e.spoke()
	j := e.queue[0]
	clear(e.queue)
	e.queue = e.queue[:0]
	j.lent = w
	close(j.done)
	return true
}

// watch sees to it that somebody looks after w, which lies idle beside a job. The
// engine is locked.
func (e *engine) watch(w *worker) {
	t := &w.turns
	switch {
	case t.watched:
		return
	case t.timer == nil:
		t.timer = time.AfterFunc(watch, func() { e.look(w) })
	default:
		t.timer.Reset(watch)
	}
	t.watched = true
}

// look has w's own goroutine take what waits if w's caller stays away, and looks again if
// not.
func (e *engine) look(w *worker) {
	e.mu.Lock()
	t := &w.turns
	t.watched = false
	i := slices.Index(e.idle, w)
	switch {
	case len(e.queue) == 0 || e.held || t.until.IsZero():
		e.mu.Unlock()
	case i < 0 || time.Since(t.left) <= 2*t.atOnce:
		e.watch(w)
		e.mu.Unlock()
	default:
		e.idle = slices.Delete(e.idle, i, i+1)
		t.until = time.Time{}
		e.mu.Unlock()
		t.back = max(t.back-loyal, 0)
		e.release(w)
	}
}
