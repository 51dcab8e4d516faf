//go:build cgo

package hsm

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

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

func (t *Token) loggedIn(s pkcs11.SessionHandle) bool { return t.noLogin(s) == nil }

// noLogin is why s is not known to be logged in.
func (t *Token) noLogin(s pkcs11.SessionHandle) error {
	info, err := t.mod.ctx.GetSessionInfo(s)
	switch {
	case err != nil:
		return fmt.Errorf("%w, as far as can be told: %v", pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN), told(err))
	case info.State != pkcs11.CKS_RW_USER_FUNCTIONS:
		return pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return nil
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
