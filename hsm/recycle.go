//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/hugepage"
)

// SoftHSM keeps a part of every session object until it is finalised, destroyed
// or not. So a module that does is recycled: after so many objects all calls are
// held up, the module is finalised and initialised, and every token logs in and
// finds its keys again, as after a login that was lost. See docs/decisions/084.

const (
	// softHSMKeeps is after how many objects SoftHSM is recycled; it has lost
	// some 45 MiB then.
	softHSMKeeps = 200_000
	// patience is how long running calls may take to end. Beyond it everybody
	// goes on, and the recycling is put off.
	patience = 2 * time.Second
	// lookFor is how long a token may take to say that all is well before.
	lookFor = 30 * time.Second
)

// recycling is what a module knows about it. The numbers may be read at any time.
type recycling struct {
	after                 atomic.Int64 // objects; 0: never
	told                  bool         // a configuration said so; changed under turn
	made                  atomic.Int64 // since the last time
	asked                 atomic.Bool
	took                  atomic.Int64 // nanoseconds, the last time
	times, failed, putOff atomic.Uint64
}

// objects counts session objects that were made, and has the module recycled when
// they are enough.
func (m *module) objects(n int) {
	after := m.recycled.after.Load()
	if after == 0 || m.recycled.made.Add(int64(n)) < after || !m.recycled.asked.CompareAndSwap(false, true) {
		return
	}
	go m.recycle()
}

// bound says after how many objects t's module is recycled: what t's configuration
// says, or else what suits the token. The last token that says something counts, and
// one that is open already is not overruled by what only suits another.
func (m *module) bound(t *Token) {
	r := &m.recycled
	if len(m.tokens) == 0 {
		r.told = false
		r.after.Store(0)
	}
	switch said := t.cfg.RecycleAfter; {
	case said != 0:
		r.after.Store(int64(max(said, 0)))
		r.told = true
	case !r.told && t.keepsObjects():
		r.after.Store(softHSMKeeps)
	}
}

// keepsObjects reports whether the token is of a SoftHSM that is known to keep them.
// What is between may call itself a module, as p11-kit's proxy does: the token's own
// words count, in which SoftHSM writes its version as that of the hardware.
func (t *Token) keepsObjects() bool {
	info, err := t.mod.ctx.GetTokenInfo(uint(t.slot.Load()))
	v := info.HardwareVersion
	return err == nil && info.ManufacturerID == softHSMProject && (v.Major < 2 || v.Major == 2 && v.Minor <= 6)
}

// Recycled says how often the token's module was made anew since it was loaded.
func (t *Token) Recycled() Recycled {
	r := &t.mod.recycled
	return Recycled{Asked: r.asked.Load(), Times: r.times.Load(), Failed: r.failed.Load(), PutOff: r.putOff.Load(), Took: time.Duration(r.took.Load())}
}

// recycle makes the module anew, or puts that off.
func (m *module) recycle() {
	defer m.recycled.asked.Store(false)
	m.turn.Lock()
	defer m.turn.Unlock()
	if len(m.tokens) == 0 {
		return // closed meanwhile
	}
	var took time.Duration
	err := m.fit()
	if err == nil {
		took, err = m.anew()
	}
	switch made := &m.recycled.made; {
	case errors.Is(err, errPutOff):
		made.Store(m.recycled.after.Load() * 9 / 10)
		m.recycled.putOff.Add(1)
	case err != nil:
		made.Store(0)
		m.recycled.failed.Add(1)
	default:
		made.Store(0)
		m.recycled.times.Add(1)
	}
	for _, t := range m.tokens {
		if t.cfg.OnRecycle != nil {
			t.cfg.OnRecycle(took, err)
			return
		}
	}
}

var (
	// errPutOff says that nothing was touched.
	errPutOff  = errors.New("it is tried again after some more use")
	errScratch = errors.New("it holds keys that live for a session only")
)

// fit fails when a token would not come back from being recycled.
func (m *module) fit() error {
	for _, t := range m.tokens {
		if err := t.fit(); err != nil {
			return fmt.Errorf("token %q: %w: %w", t.cfg.Token, errPutOff, err)
		}
	}
	return nil
}

func (t *Token) fit() error {
	if t.scratch() {
		return errScratch
	}
	if err := t.withPIN(false, func([]byte, pinDigest) error { return nil }); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookFor)
	defer cancel()
	return t.Health(ctx)
}

// anew holds everybody up, makes the module and its tokens anew, and lets them go
// on. It returns how long that took. m.turn must be held.
func (m *module) anew() (time.Duration, error) {
	begun := time.Now()
	release, ok := m.hold(begun.Add(patience))
	if !ok {
		return 0, fmt.Errorf("calls did not end within %v: %w", patience, errPutOff)
	}
	defer release()
	defer m.watch()()
	for _, t := range m.tokens {
		if t.scratch() { // made since fit looked
			return 0, fmt.Errorf("token %q: %w: %w", t.cfg.Token, errPutOff, errScratch)
		}
	}
	for _, t := range m.tokens {
		t.retire()
	}
	err := m.restart()
	if err == nil {
		err = m.glance(m.see)
	}
	for _, t := range m.tokens {
		if err == nil {
			err = t.renew(t.state.Load())
		}
	}
	took := time.Since(begun)
	m.recycled.took.Store(int64(took))
	return took, err
}

// hold keeps every session and every lock of m's tokens, or nothing.
func (m *module) hold(until time.Time) (release func(), ok bool) {
	var undo []func()
	release = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	keep := func(got bool, back func()) bool {
		if got {
			undo = append(undo, back)
		}
		return got
	}
	for _, t := range m.tokens {
		if !keep(t.engine.hold(until), t.engine.letGo) || !keep(t.pool.hold(until), t.pool.letGo) {
			release()
			return nil, false
		}
	}
	for _, t := range m.tokens { // last: a call that ends may need it to
		for !keep(t.mu.TryLock(), t.mu.Unlock) {
			if !time.Now().Before(until) {
				release()
				return nil, false
			}
			time.Sleep(time.Millisecond)
		}
	}
	return release, true
}

// restart finalises the module and initialises it. A module that cannot be
// initialised is down: whoever needs it next tries again.
func (m *module) restart() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.ctx.Finalize()
	if err != nil && code(err) != pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED {
		return fmt.Errorf("%w: finalising the module %s: %w", ErrUnavailable, m.path, err)
	}
	hugepage.Trim()
	m.down.Store(true)
	return m.raise()
}

// revive initialises a module that is down.
func (m *module) revive() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.raise()
}

// raise is revive for whoever holds m.mu.
func (m *module) raise() error {
	if !m.down.Load() {
		return nil
	}
	err := initialise(m.ctx, m.initArgs, m.prepare)
	if err != nil && code(err) != pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED {
		return initError(m.path, err)
	}
	m.down.Store(false)
	m.born.Add(1)
	return nil
}

// scratch reports whether a key is ready that would be lost.
func (t *Token) scratch() bool {
	for _, k := range t.state.Load().keys {
		if k.scratch {
			return true
		}
	}
	return false
}

// retire closes every session and leaves a state that is lost: its handles name
// nothing, because numbers of before may be given out again. Everything of t must
// be held.
func (t *Token) retire() {
	t.engine.discard()
	t.pool.empty()
	t.spoiled.Clear()
	old := t.state.Load()
	t.mod.ctx.CloseSession(old.anchor) // finalising ends it anyhow
	keys := map[keyref.Ref]*key{}
	for r, k := range old.keys {
		lost := *k
		lost.first, lost.second, lost.stored = 0, 0, nil
		keys[r] = &lost
	}
	t.state.Store(&state{gen: old.gen + 1, keys: keys})
	t.suspect = true
}

// locate finds the slot again: it may have another number since the module was made
// anew, or the token was put in again. t.mu must be held.
func (t *Token) locate() error {
	if t.mod.down.Load() && t.mod.mending.rests() {
		return fmt.Errorf("%w: the module %s could not be initialised anew, and is tried again soon: %w", ErrUnavailable, t.mod.path,
			pkcs11.Error(pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED))
	}
	if err := t.mod.revive(); err != nil {
		return err
	}
	born := t.mod.born.Load()
	slot, _, err := t.mod.slot(t.cfg.Token)
	switch {
	case err == nil:
		t.slot.Store(uint64(slot))
		t.born = born
	case t.born == born: // SoftHSM may not see for a moment what is there; the session will tell
		return nil
	}
	return err
}
