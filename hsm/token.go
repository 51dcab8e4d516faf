//go:build cgo

package hsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"
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
	// singles are the calls in sessions of pool that use one key.
	singles *singles
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
		return loginError(t.cfg, pkcs11.Error(pkcs11.CKR_PIN_LOCKED))
	}
	if info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 {
		return loginError(t.cfg, pkcs11.Error(pkcs11.CKR_USER_PIN_NOT_INITIALIZED))
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
	t.pool, t.singles = newPool(t, capSessions(t.cfg, info)), newSingles()
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
// answer the first two. It logs in again when the login was lost. A token of whose
// computing nothing comes back is not well, whatever else it answers.
func (t *Token) Health(ctx context.Context) error {
	if err := t.speaks(); err != nil {
		return opError("looking after the HSM", err)
	}
	return t.with(ctx, "looking after the HSM", func(s pkcs11.SessionHandle, st *state) error {
		if err := t.noLogin(s); err != nil {
			return err
		}
		if _, err := t.mod.ctx.GenerateRandom(s, 8); err != nil {
			return fmt.Errorf("drawing randomness: %w", err)
		}
		return t.present(s, st)
	})
}
