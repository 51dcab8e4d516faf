//go:build cgo

package hsm

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Token is an open PKCS #11 token, logged in. It is safe for concurrent use.
type Token struct {
	cfg    Config
	mod    *module
	slot   atomic.Uint64 // changed under mu
	born   uint64        // of the module, when it had that slot
	state  atomic.Pointer[state]
	pool   *pool
	engine *engine
	// spoiled holds sessions that failed where no caller sees it: cleaning up.
	spoiled sync.Map // of pkcs11.SessionHandle

	// mu is held by whoever replaces state, so also by the one owner of the
	// anchor session.
	mu     sync.Mutex
	nextID uint64
	proven pinDigest // of the last PIN that the token accepted
	// suspect says that a call failed in the anchor session, which is then not
	// asked again but replaced, with a login of its own, at the next need.
	suspect  bool
	closed   bool
	unlisted sync.Map // mechanisms (uint) that the module has and does not list
	apart    int      // how many times yet keys are looked for one by one, see looks
}

// state is what a login brought; it is replaced, never changed.
type state struct {
	gen uint64 // rises with every login
	// anchor is a session that stays open, so that the token does not log us
	// out when the pool is empty. The session copies of masters live in it.
	anchor pkcs11.SessionHandle
	keys   map[keyref.Ref]*key
}

// key is a stored key made ready for use.
type key struct {
	id            uint64
	spec          keyref.Spec
	first, second pkcs11.ObjectHandle
	copied        bool                  // first and second are session copies
	stored        []pkcs11.ObjectHandle // what they are copies of, if that has to stay
	public        *ecdsa.PublicKey      // of ECP256
	scratch       bool                  // a session object that [Token.ImportScratch] made
	late          bool                  // it may go away: see [Token.RequireLate]
	print         [8]byte               // of a master: equal only for equal keys, see fingerprint
}

func (s *state) key(r keyref.Ref) (*key, error) {
	if k := s.keys[r]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: %v was not asked for at start", ErrKeyMissing, r)
}

// Open loads the module, logs in and checks that the token can be used. The
// error says which of module, token or PIN is wrong and what to do.
func Open(ctx context.Context, cfg Config) (*Token, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := load(cfg.Module, cfg.InitArgs, cfg.Prepare)
	if err != nil {
		return nil, err
	}
	t := &Token{cfg: cfg, mod: m}
	if err := t.enter(); err != nil {
		return nil, errors.Join(err, m.release())
	}
	return t, nil
}

// enter opens t as one of its module's tokens.
func (t *Token) enter() error {
	m := t.mod
	m.turn.Lock()
	defer m.turn.Unlock()
	if t.cfg.Prepare != nil {
		m.prepare = t.cfg.Prepare
	}
	if err := m.revive(); err != nil {
		return err
	}
	open := t.open
	if len(m.tokens) == 0 { // nobody minds that it is initialised anew
		open = func() error { return m.glance(t.open) }
	}
	if err := open(); err != nil {
		return err
	}
	m.bound(t)
	m.tokens = append(m.tokens, t)
	return nil
}

func (t *Token) open() error {
	slot, info, err := t.mod.slot(t.cfg.Token)
	if err != nil {
		return err
	}
	if info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0 {
		return loginError(t.cfg.Token, pkcs11.Error(pkcs11.CKR_PIN_LOCKED))
	}
	if info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 {
		return loginError(t.cfg.Token, pkcs11.Error(pkcs11.CKR_USER_PIN_NOT_INITIALIZED))
	}
	if err := t.mod.claim(t.cfg.Token); err != nil {
		return err
	}
	t.slot.Store(uint64(slot))
	t.born = t.mod.born.Load()
	anchor, err := t.openSession()
	if err != nil {
		t.mod.unclaim(t.cfg.Token)
		return err
	}
	if err := t.login(anchor, false); err != nil {
		t.mod.ctx.CloseSession(anchor)
		t.mod.unclaim(t.cfg.Token)
		return err
	}
	t.state.Store(&state{gen: 1, anchor: anchor})
	t.pool = newPool(t, capSessions(t.cfg, info))
	return t.startWorkers()
}

func (t *Token) startWorkers() error {
	var ws []*worker
	for range t.cfg.Workers {
		w, err := newWorker(t)
		if err != nil {
			for _, w := range ws {
				w.close()
			}
			t.logout()
			return err
		}
		ws = append(ws, w)
	}
	t.engine = newEngine(ws)
	return nil
}

// capSessions is how many sessions the pool may have beside the workers' and
// the anchor.
func capSessions(cfg Config, info pkcs11.TokenInfo) int {
	n := cfg.MaxSessions
	for _, limit := range []uint{info.MaxSessionCount, info.MaxRwSessionCount} {
		if limit != pkcs11.CK_EFFECTIVELY_INFINITE && limit != pkcs11.CK_UNAVAILABLE_INFORMATION {
			n = min(n, int(min(limit, 4096))-cfg.Workers-1)
		}
	}
	return max(n, 1)
}

func (t *Token) openSession() (pkcs11.SessionHandle, error) {
	if t.mod.down.Load() { // modules do not all say so
		return 0, fmt.Errorf("%w: %w on token %q: %w", ErrUnavailable, errNoSession, t.cfg.Token, pkcs11.Error(pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED))
	}
	s, err := t.mod.ctx.OpenSession(uint(t.slot.Load()), pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return 0, fmt.Errorf("%w: %w on token %q: %w", ErrUnavailable, errNoSession, t.cfg.Token, told(err))
	}
	return s, nil
}

func (t *Token) logout() {
	// Errors here leave nothing to do: the process is giving the token up.
	anchor := t.state.Load().anchor
	t.mod.ctx.Logout(anchor)
	t.mod.ctx.CloseSession(anchor)
	t.mod.unclaim(t.cfg.Token)
}

// Close waits for the calls that have begun, refuses new ones, and logs out.
// Closing twice is an error.
func (t *Token) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return errClosed
	}
	t.closed = true
	t.mu.Unlock()
	t.mod.turn.Lock() // the module is not recycled meanwhile
	defer t.mod.turn.Unlock()
	t.engine.close()
	t.pool.close()
	t.mod.tokens = slices.DeleteFunc(t.mod.tokens, func(x *Token) bool { return x == t })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logout()
	t.state.Store(&state{})
	if err := t.mod.release(); err != nil {
		return fmt.Errorf("closing the HSM: %w", err)
	}
	return nil
}

// Health asks the token for its session state, for a few random bytes, and for
// every key that is ready: a token that was pulled out or emptied may still
// answer the first two. It logs in again when the login was lost.
func (t *Token) Health(ctx context.Context) error {
	return t.with(ctx, "looking after the HSM", func(s pkcs11.SessionHandle, st *state) error {
		if !t.loggedIn(s) {
			return pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
		}
		if _, err := t.mod.ctx.GenerateRandom(s, 8); err != nil {
			return fmt.Errorf("drawing randomness: %w", err)
		}
		return t.present(s, st)
	})
}

// recover makes the login of state gen anew, unless somebody did already or it
// turns out to be alive.
func (t *Token) recover(gen uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.state.Load()
	switch {
	case old.gen != gen:
		return nil
	case !t.doubted(old) && t.alive(old):
		t.dropGone(old)
		return nil
	}
	return t.renew(old)
}

// renew logs in with a new anchor session and finds the keys again. A module that
// cannot be reached is made anew, later. t.mu must be held.
func (t *Token) renew(old *state) error {
	err := t.relogin(old)
	if unreachable(err) {
		t.mod.ails()
	}
	return err
}

func (t *Token) relogin(old *state) error {
	t.suspect = true
	if err := t.locate(); err != nil {
		return err
	}
	anchor, err := t.openSession()
	if err != nil {
		return err
	}
	if err = t.login(anchor, true); err == nil {
		err = t.refill(old, anchor)
	}
	if err != nil {
		t.mod.ctx.CloseSession(anchor)
		return opError("logging in again", err)
	}
	t.suspect = false
	if old.anchor != 0 {
		t.mod.ctx.CloseSession(old.anchor) // most likely gone
	}
	return nil
}

// atAnchor returns the present state, with an anchor session in which nothing
// has failed. t.mu must be held.
func (t *Token) atAnchor() (*state, error) {
	if t.doubted(t.state.Load()) {
		if err := t.renew(t.state.Load()); err != nil {
			return nil, err
		}
	}
	return t.state.Load(), nil
}

// doubted reports whether something failed in the anchor session. t.mu must be
// held.
func (t *Token) doubted(st *state) bool {
	_, bad := t.spoiled.LoadAndDelete(st.anchor)
	t.suspect = t.suspect || bad
	return t.suspect
}

// judge looks at the outcome of calls in the anchor session. t.mu must be held.
func (t *Token) judge(err error) { t.suspect = t.suspect || code(err) != pkcs11.CKR_OK }

func (t *Token) loggedIn(s pkcs11.SessionHandle) bool {
	info, err := t.mod.ctx.GetSessionInfo(s)
	return err == nil && info.State == pkcs11.CKS_RW_USER_FUNCTIONS
}

// refill finds the keys of an old state again and stores the new state.
func (t *Token) refill(old *state, anchor pkcs11.SessionHandle) error {
	st := &state{gen: old.gen + 1, anchor: anchor, keys: map[keyref.Ref]*key{}}
	var refs []keyref.Ref
	for ref, k := range old.keys {
		if !k.scratch { // those died with their session
			refs = append(refs, ref)
		}
	}
	l, err := t.loads(anchor, refs)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		k := old.keys[ref]
		fresh, err := t.loadKey(l, ref)
		if k.late && errors.Is(err, ErrKeyMissing) {
			continue
		}
		if err != nil {
			return err
		}
		fresh.late = k.late
		st.keys[ref] = fresh
	}
	t.state.Store(st)
	return nil
}

// alive reports whether the anchor session is logged in and still has its
// session objects.
func (t *Token) alive(st *state) bool {
	return t.loggedIn(st.anchor) && t.present(st.anchor, st) == nil
}

// present fails when an object of a key that is ready, and may not go away, has
// gone.
func (t *Token) present(s pkcs11.SessionHandle, st *state) error {
	for ref, k := range st.keys {
		if k.late {
			continue
		}
		if err := t.whole(s, k); err != nil {
			return fmt.Errorf("looking for %v: %w", ref, err)
		}
	}
	return nil
}

// whole fails when an object of a key has gone.
func (t *Token) whole(s pkcs11.SessionHandle, k *key) error {
	for _, h := range append([]pkcs11.ObjectHandle{k.first, k.second}, k.stored...) {
		if h == 0 {
			continue
		}
		if _, err := t.get(s, h, pkcs11.CKA_CLASS); err != nil {
			return err
		}
	}
	return nil
}

// dropGone forgets late keys that have gone. t.mu must be held.
func (t *Token) dropGone(st *state) {
	t.replace(func(keys map[keyref.Ref]*key) {
		maps.DeleteFunc(keys, func(_ keyref.Ref, k *key) bool { return k.late && t.whole(st.anchor, k) != nil })
	})
}

// replace stores a state with keys changed by edit. t.mu must be held.
func (t *Token) replace(edit func(keys map[keyref.Ref]*key)) {
	old := t.state.Load()
	keys := maps.Clone(old.keys)
	if keys == nil {
		keys = map[keyref.Ref]*key{}
	}
	edit(keys)
	t.state.Store(&state{gen: old.gen, anchor: old.anchor, keys: keys})
}
