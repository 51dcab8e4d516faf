package store

import (
	"context"
	"errors"
	"slices"
	"sync"

	"gorm.io/gorm"
)

// writer is the turn to write through one connection, and what makes those who
// wait for it share a commit: a transaction that has run leaves the commit to
// the one behind it, if there is one, and its caller is answered after that
// commit. Each runs inside a savepoint of its own, so what one does wrong is
// undone alone.
type writer struct {
	link link
	// fixed closes a group to those who came after it began, where a
	// transaction sees the database as it was then: a caller must find what was
	// committed before it came.
	fixed bool

	mu      sync.Mutex
	busy    bool    // somebody has the turn
	queue   []place // the others, in order
	arrived int     // how many ever came

	open *group // begun and not ended; for whoever has the turn
}

// place is where somebody waits in the queue.
type place struct {
	turn chan struct{} // closed to give the turn
	n    int           // who it is, in order of arrival
}

// link is the connection that a writer writes through. Its methods are for
// whoever has the turn.
type link interface {
	// begin begins a transaction, and in it the savepoint of its first member.
	// ctx bounds no more than the wait for a connection.
	begin(ctx context.Context) (*gorm.DB, error)
	// next sets the savepoint of another member.
	next(ctx context.Context) error
	// keep ends the part of a member, or fails when it cannot be kept.
	keep(ctx context.Context) error
	// undo takes back what the member wrote.
	undo(ctx context.Context) error
	// commit and rollback end the transaction, whether they fail or not.
	commit(ctx context.Context) error
	rollback(ctx context.Context)
}

// group is one transaction of the database, shared by some of ours.
type group struct {
	tx      *gorm.DB
	members int
	last    int           // the last arrival that it may take
	kept    int           // how many have something to commit
	ended   chan struct{} // closed when err is final
	err     error
}

// maxGroup bounds a group, and with it how long its first member waits.
const maxGroup = 64

// errSpoiled is what the members of a group hear when a failure of one of them
// took the whole group back: their own parts are to be run again.
var errSpoiled = errors.New("undone by another's failure")

// transact runs fn in a group, or by itself after its group was spoiled.
func (w *writer) transact(ctx context.Context, fn func(tx *gorm.DB) error) error {
	err := w.try(ctx, fn, false)
	if errors.Is(err, errSpoiled) {
		err = w.try(ctx, fn, true)
	}
	return err
}

func (w *writer) try(ctx context.Context, fn func(tx *gorm.DB) error, alone bool) error {
	if err := w.turn(ctx); err != nil {
		return err
	}
	g, err := w.part(ctx, fn, alone)
	if g == nil {
		return err
	}
	<-g.ended
	if g.err != nil {
		return g.err
	}
	return err
}

// turn waits until the caller may write.
func (w *writer) turn(ctx context.Context) error {
	if ctx.Err() != nil {
		return waited(ctx)
	}
	mine, waits := w.arrive()
	if !waits {
		return nil
	}
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
		w.giveUp(mine)
		return waited(ctx)
	}
}

// arrive takes the turn if nobody has it, or else a place in the queue.
func (w *writer) arrive() (turn chan struct{}, waits bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived++
	if !w.busy {
		w.busy = true
		return nil, false
	}
	turn = make(chan struct{})
	w.queue = append(w.queue, place{turn, w.arrived})
	return turn, true
}

// load is how many have the turn or wait for it.
func (w *writer) load() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy {
		return len(w.queue) + 1
	}
	return 0
}

// giveUp takes a caller out of the queue. If the turn came to it meanwhile, the
// group that it was to end is ended.
func (w *writer) giveUp(mine chan struct{}) {
	w.mu.Lock()
	i := slices.IndexFunc(w.queue, func(p place) bool { return p.turn == mine })
	if i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
	w.mu.Unlock()
	if i < 0 {
		w.leave(false)
	}
}

// part runs fn as a member of the open group and gives the turn away. It
// returns the group that the answer has to wait for: a failure too may follow
// from what another member wrote, and is none before that is committed.
func (w *writer) part(ctx context.Context, fn func(tx *gorm.DB) error, alone bool) (g *group, err error) {
	defer func() { w.leave(alone) }()
	bound := ctx
	ctx = context.WithoutCancel(ctx)
	if alone {
		w.end(ctx)
	}
	if err := w.join(bound); err != nil {
		return nil, err
	}
	g = w.open
	done := false
	defer func() { // also when fn panics
		if done {
			g.kept++
			return
		}
		if errors.Is(err, errContended) || w.link.undo(ctx) != nil {
			w.spoil(ctx)
			g = nil
		}
	}()
	if err = mapError(fn(g.tx.WithContext(ctx))); err == nil {
		err = w.link.keep(ctx)
	}
	done = err == nil
	return g, err
}

// join makes the caller a member of the open group, or the first of a new one.
func (w *writer) join(ctx context.Context) error {
	if g := w.open; g != nil {
		g.members++
		ctx = context.WithoutCancel(ctx)
		if w.link.next(ctx) != nil {
			w.spoil(ctx)
			return errSpoiled
		}
		return nil
	}
	w.mu.Lock()
	last := w.arrived
	w.mu.Unlock()
	tx, err := w.link.begin(ctx)
	if err == nil {
		w.open = &group{tx: tx, members: 1, last: last, ended: make(chan struct{})}
	}
	return err
}

// leave gives the turn to the next in the queue, which goes on with the open
// group; or ends the group first, when it is full or nobody waits.
func (w *writer) leave(alone bool) {
	if w.open != nil && (alone || w.full()) || !w.pass(false) {
		w.end(context.Background())
		w.pass(true)
	}
}

// full reports that the open group takes no other member.
func (w *writer) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open.members >= maxGroup || w.fixed && len(w.queue) > 0 && w.queue[0].n > w.open.last
}

// pass gives the turn to the next in the queue, or back if free is set. It
// reports whether the turn is gone.
func (w *writer) pass(free bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		close(w.queue[0].turn)
		w.queue = w.queue[1:]
		return true
	}
	w.busy = !free
	return free
}

// end commits the open group, if there is one, and answers its members.
func (w *writer) end(ctx context.Context) {
	g := w.open
	if g == nil {
		return
	}
	w.open = nil
	if g.kept == 0 {
		w.link.rollback(ctx)
	} else {
		g.err = w.link.commit(ctx)
	}
	close(g.ended)
}

// spoil takes the open group back. A full disk, for one, makes SQLite undo more
// than the statement that met it, and PostgreSQL breaks off whole transactions.
func (w *writer) spoil(ctx context.Context) {
	g := w.open
	w.open = nil
	w.link.rollback(ctx)
	g.err = errSpoiled
	close(g.ended)
}
