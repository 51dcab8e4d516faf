//go:build cgo

package hsm

import (
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/trace"
)

// What a derived key may do, and what a job does with the last one. The
// numbers are those of composite.h.
const (
	kindDerives  = 0
	kindEncrypts = 1
	kindReadable = 2

	opCBC    = 0
	opECB    = 1
	opFold   = 2
	opChain  = 3
	opRetail = 4
)

// step is one derivation.
type step struct {
	data [24]byte
	kind uint8
}

// diversify is the step by which a 16-byte key is made from another by a
// factor: the factor gives the left half, its complement the right.
func diversify(f keyref.Factor, kind uint8) (s step) {
	s.kind = kind
	for i, b := range f {
		s.data[i], s.data[8+i], s.data[16+i] = b, ^b, b
	}
	return s
}

// single is the step that makes an 8-byte key: thrice the same bytes is single
// DES. From a factor it is the left half of the diversified key.
func single(in [8]byte, kind uint8) (s step) {
	s.kind = kind
	for i, b := range in {
		s.data[i], s.data[8+i], s.data[16+i] = b, b, b
	}
	return s
}

// job is one use of the hot path: levels derivations from a stored key, a last
// step of its own if there is one, and an operation on up to maxMessages
// messages, whose length is a multiple of 8.
type job struct {
	path   keyref.Path
	levels int  // of path that derive keys worth keeping; the rest is in last
	last   step // see hasLast
	// hasLast says that last follows the levels. Its key dies with the job.
	hasLast bool
	whole   step // of opRetail: made of the same key as last
	second  bool // start from the second object of the stored key
	op      uint8
	count   int
	lens    [maxMessages]int
	data    []byte
	macs    [maxMessages][8]byte
	err     error

	span    trace.Span
	retried bool
	done    chan struct{}
	// lent, set before done is closed, says that nobody ran the job: its caller
	// has this worker for it
	lent *worker
	// of the engine, under its lock: the caller is gone, the worker is done
	left, finished bool
	// set while a worker has the job
	id    uint64
	depth int // levels that were found ready
	keep  int // keys after depth that are worth keeping
	fold  bool
	// keepFold: the folded key is worth keeping
	keepFold bool
}

// worker is a session with the keys derived in it, and the memory in which
// jobs are handed to C. One goroutine at a time owns it.
type worker struct {
	t       *Token
	c       batch
	batch   []*job
	wake    chan struct{}
	session pkcs11.SessionHandle // 0: none
	gen     uint64               // state to which session and kept belong
	kept    *lru[pkcs11.ObjectHandle]
	seen    *seen                 // keys derived lately
	drops   []pkcs11.ObjectHandle // evicted, to be destroyed with the next crossing
	steps   [4]step
	rested  time.Time
	turns   turns
}

// stint is how long callers make calls before one of them yields, which takes 45
// microseconds where a processor sleeps; a call of slow takes so long that the
// caller loses its processor anyway.
const (
	stint = 8 * time.Millisecond
	slow  = time.Millisecond
)

// tired reports, once in a stint, that whoever borrowed w, for a call of this
// beginning and end, has to yield. A goroutine that does nothing but such calls never does by
// itself, and Go's scheduler, after 10 ms, does worse: it takes the processor
// away in the middle of a call, polls for it, and moves the caller to another
// thread. It is also fair to those who wait for a processor.
func (w *worker) tired(begun, ended time.Time) bool {
	long := ended.Sub(begun) > slow
	if !long && ended.Sub(w.rested) < stint {
		return false
	}
	w.rested = ended
	return !long
}

func newWorker(t *Token) (*worker, error) {
	c, err := newBatch()
	if err != nil {
		return nil, err
	}
	return &worker{t: t, c: c, wake: make(chan struct{}, 1), drops: make([]pkcs11.ObjectHandle, 0, maxDrops),
		turns: turns{atOnce: atOnce}}, nil
}

// close gives session and memory back.
func (w *worker) close() {
	w.discard()
	w.c.free()
}

// discard closes the session. The keys derived in it die with it.
func (w *worker) discard() {
	if w.session != 0 {
		w.t.mod.ctx.CloseSession(w.session) // the session is given up either way
	}
	w.session, w.kept, w.seen, w.drops = 0, nil, nil, w.drops[:0]
}

// run does the whole batch. Every job ends with its answer or its err set.
func (w *worker) run() {
	todo := w.batch
	for _, j := range todo {
		j.span.Waited()
	}
	for len(todo) > 0 {
		st := w.t.state.Load()
		if err := w.ready(st); err != nil {
			if !todo[0].again(w.t, err, st.gen) {
				todo = todo[1:]
			}
			continue
		}
		n := w.lay(st, todo)
		if n == 0 { // todo[0] has no key
			todo = todo[1:]
			continue
		}
		clean := w.c.run(w.t.mod.native, w.session, n, w.drops)
		w.drops = w.drops[:0]
		todo = todo[w.collect(st, todo[:n]):]
		if !clean { // the answers are good; what was left behind dies with the session
			w.discard()
		}
	}
}

// again decides about a job that failed with err: true when it should run once
// more, because the session was lost and has been made anew.
func (j *job) again(t *Token, err error, gen uint64) bool {
	if !j.retried && lost(err) {
		j.retried = true
		if err = t.recover(gen); err == nil {
			return true
		}
	}
	j.err = opError("computing with "+j.path.Key.String(), err)
	return false
}

// ready makes sure that w has a session of the present state.
func (w *worker) ready(st *state) error {
	if w.session != 0 && w.gen == st.gen {
		return nil
	}
	w.discard()
	s, err := w.t.openSession()
	if err != nil {
		return err
	}
	w.session, w.gen = s, st.gen
	w.kept, w.seen = newLRU[pkcs11.ObjectHandle](w.t.cfg.CachedKeys), newSeen(4*w.t.cfg.CachedKeys)
	return nil
}

// lay puts jobs into C memory up to the first whose key is missing, which
// fails, and returns how many.
func (w *worker) lay(st *state, jobs []*job) int {
	for i, j := range jobs {
		k, err := st.key(j.path.Key)
		if err != nil {
			if i == 0 {
				j.err = err
			}
			return i
		}
		base := k.first
		if j.second {
			base = k.second
		}
		n := w.plan(j, k.id, &base)
		w.c.put(i, base, w.steps[:n], j)
	}
	return len(jobs)
}

// plan starts j from the deepest key that w still has and writes the steps
// that are left.
func (w *worker) plan(j *job, id uint64, base *pkcs11.ObjectHandle) (n int) {
	j.id, j.fold = id, j.op == opFold
	if j.fold {
		k := j.kept(int(j.path.Levels), true)
		if h, ok := w.kept.get(k); ok {
			*base, j.fold, j.depth, j.keep = h, false, 0, 0
			return 0
		}
		j.keepFold = w.seen.twice(k)
	}
	for j.depth = j.levels; j.depth > 0; j.depth-- {
		if h, ok := w.kept.get(j.kept(j.depth, false)); ok {
			*base = h
			break
		}
	}
	j.keep = 0
	for l := j.depth; l < j.levels; l++ {
		if j.keep == l-j.depth && w.seen.twice(j.kept(l+1, false)) {
			j.keep++
		}
		w.steps[n] = diversify(j.path.Factors[l], kindDerives)
		n++
	}
	if j.hasLast {
		w.steps[n] = j.last
		n++
	}
	if j.op == opRetail {
		w.steps[n] = j.whole
		n++
	}
	made := n
	if j.fold { // what is folded is one more
		made++
	}
	w.t.mod.objects(made)
	return n
}

// kept names the key of j at a depth.
func (j *job) kept(depth int, folded bool) keptKey {
	k := keptKey{id: j.id, depth: uint8(depth), folded: folded}
	copy(k.factors[:depth], j.path.Factors[:depth])
	return k
}

// collect takes the answers of jobs and returns how many are settled. After a
// failure the session is given up, whatever it was.
func (w *worker) collect(st *state, jobs []*job) int {
	for i, j := range jobs {
		begun, err := w.c.result(i, j)
		if !begun {
			return i
		}
		if err != nil {
			w.discard()
			if j.again(w.t, err, st.gen) {
				return i
			}
			return i + 1
		}
		for k := 0; k < j.keep; k++ {
			w.keep(j.kept(j.depth+k+1, false), w.c.kept(i, k))
		}
		if j.fold && j.keepFold {
			w.keep(j.kept(int(j.path.Levels), true), w.c.folded(i))
		}
	}
	return len(jobs)
}

func (w *worker) keep(k keptKey, h pkcs11.ObjectHandle) {
	if old, out := w.kept.add(k, h); out {
		w.drops = append(w.drops, old)
	}
}
