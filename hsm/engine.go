//go:build cgo

package hsm

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/tapvault/tapvault/internal/trace"
)

// engine hands jobs to workers.
//
// A caller that finds a worker idle borrows it and makes the call itself: nothing
// is faster for one caller. When all are busy, jobs queue. A caller whose call is
// done runs one batch of them, up to maxBatch behind one crossing, before it gives
// the worker back: waking somebody for them would leave the module idle meanwhile.
// What queues after that is for the worker's own goroutine, so that no caller
// serves others for long. There are never more calls in the module than workers,
// and no worker takes a batch while another is idle: jobs queue only when none is.
// Two callers who both come back at once take turns instead, see turns.
type engine struct {
	mu    sync.Mutex
	queue []*job
	idle  []*worker
	all   []*worker
	held  bool       // no worker is given a job, see hold
	quiet *sync.Cond // a worker became idle
	wg    sync.WaitGroup
	// refuses is what callers are told who may not wait: it was closed, or hangs
	refuses error
	// given counts what workers were given. While nothing comes back, mute is what
	// callers are told, and leave is closed, see silent
	given   uint64
	silence silence
	mute    error
	leave   chan struct{}
}

var errClosed = fmt.Errorf("%w: this token was closed", ErrUnavailable)

func newEngine(ws []*worker) *engine {
	e := &engine{all: ws, idle: append([]*worker(nil), ws...), leave: make(chan struct{})}
	e.quiet = sync.NewCond(&e.mu)
	for _, w := range ws {
		e.wg.Add(1)
		go e.serve(w)
	}
	return e
}

// do runs j and returns its error. When ctx ends first, j is taken out of the
// queue or, if a worker has it already, left to the worker: then it must not
// be touched again.
func (e *engine) do(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.span = trace.Of(ctx)
	e.mu.Lock()
	if e.refuses != nil || e.mute != nil {
		defer e.mu.Unlock()
		return cmp.Or(e.refuses, e.mute)
	}
	if n := len(e.idle); n > 0 && !e.held {
		w := e.idle[n-1]
		e.idle = e.idle[:n-1]
		e.given++
		e.mu.Unlock()
		return e.borrow(ctx, w, j)
	}
	j.done = make(chan struct{})
	e.queue = append(e.queue, j)
	leave := e.leave
	e.mu.Unlock()
	select {
	case <-j.done:
		if j.lent != nil {
			runtime.Gosched() // see keep
			return e.borrow(ctx, j.lent, j)
		}
		return j.err
	case <-leave:
		e.abandon(j)
		return errSilent
	case <-ctx.Done():
		e.abandon(j)
		return ctx.Err()
	}
}

// abandon gives a job up, and the worker back that it may have been lent.
func (e *engine) abandon(j *job) {
	if w := e.forget(j); w != nil {
		e.release(w)
	}
}

// borrow runs j on w, which is the caller's meanwhile.
func (e *engine) borrow(ctx context.Context, w *worker, j *job) error {
	begun := time.Now()
	w.turns.came(begun)
	w.batch = append(w.batch[:0], j)
	w.run()
	ended := time.Now()
	rest := w.tired(begun, ended)
	if e.keep(ctx, w, begun, ended) {
		return j.err
	}
	if e.giveBack(ctx, w) || rest {
		runtime.Gosched()
	}
	return j.err
}

// forget takes j out of the queue if it is still there. If a worker has it,
// the answer, which may be keys, is wiped by whoever of the two is last. If j
// was lent a worker, that is returned, to be given back.
func (e *engine) forget(j *job) *worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, q := range e.queue {
		if q == j {
			e.queue = append(e.queue[:i], e.queue[i+1:]...)
			return nil
		}
	}
	if j.left = true; j.finished {
		clear(j.data)
	}
	return j.lent
}

// finish hands the answers of a batch to those who still wait for them.
func (e *engine) finish(batch []*job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range batch {
		if j.finished = true; j.left {
			clear(j.data)
		}
		close(j.done)
	}
}

// giveBack is release by a caller, who serves one batch if there is time, and
// reports whether it did.
func (e *engine) giveBack(ctx context.Context, w *worker) (served bool) {
	if ctx.Err() == nil {
		if !e.next(w) {
			return false
		}
		w.run()
		e.finish(w.batch)
		w.turns.left = time.Now()
		served = true
	}
	e.release(w)
	return served
}

// release gives a borrowed worker back, or wakes its own goroutine when jobs came
// meanwhile.
func (e *engine) release(w *worker) {
	if e.next(w) {
		w.wake <- struct{}{}
	}
}

// next fills w's batch from the queue, or makes w idle.
func (e *engine) next(w *worker) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spoke()
	n := min(len(e.queue), maxBatch)
	if n == 0 || e.held {
		e.idle = append(e.idle, w)
		e.quiet.Broadcast()
		return false
	}
	e.given++
	w.batch = append(w.batch[:0], e.queue[:n]...)
	rest := copy(e.queue, e.queue[n:])
	clear(e.queue[rest:])
	e.queue = e.queue[:rest]
	return true
}

// serve is a worker's own goroutine: it runs batches until the queue is empty. It is
// not locked to a thread. Waking one that is means that two threads change places
// (decision 187).
func (e *engine) serve(w *worker) {
	defer e.wg.Done()
	for range w.wake {
		for more := true; more; more = e.next(w) {
			w.run()
			e.finish(w.batch)
		}
	}
}

// refuse lets go of whoever waits, and of whoever comes until it is called with nil.
func (e *engine) refuse(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuses = err; err == nil {
		return
	}
	for _, j := range e.queue {
		j.err = err
		close(j.done)
	}
	e.queue = nil
}

// close lets running jobs end, refuses waiting ones, and ends the workers.
func (e *engine) close() {
	e.refuse(errClosed)
	e.mu.Lock()
	for len(e.idle) < len(e.all) {
		e.quiet.Wait()
	}
	e.mu.Unlock()
	for _, w := range e.all {
		close(w.wake)
	}
	e.wg.Wait()
	for _, w := range e.all {
		w.close()
	}
}
