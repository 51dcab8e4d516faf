//go:build cgo

package hsm

import (
	"errors"
	"slices"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// What tests of faults need to reach: the module beneath a token.

// Cryptoki is the seam at which faults are injected.
type Cryptoki = cryptoki

// Inject puts wrap's result in the place of the module until restore is
// called. Composite calls go past it.
func (t *Token) Inject(wrap func(Cryptoki) Cryptoki) (restore func()) {
	old := t.mod.ctx
	t.mod.ctx = wrap(old)
	return func() { t.mod.ctx = old }
}

// Plant stores an object of a usage with attributes changed, as an officer
// with another tool might.
func (t *Token) Plant(label string, typ keyref.Type, role keyref.Role, value []byte, change ...*pkcs11.Attribute) error {
	s := t.state.Load().anchor
	tpl := template(typ, role, label, true)
	for _, c := range change {
		i := slices.IndexFunc(tpl, func(a *pkcs11.Attribute) bool { return a.Type == c.Type })
		if i < 0 {
			tpl = append([]*pkcs11.Attribute{c}, tpl...)
			continue
		}
		tpl[i].Value = c.Value
	}
	_, err := t.mod.native.create(s, append(tpl, &pkcs11.Attribute{Type: pkcs11.CKA_VALUE, Value: value}))
	return err
}

// PlantPair stores a key pair by other attributes.
func (t *Token) PlantPair(label, id string, params []byte) error {
	pub, priv := publicTemplate(label, keyref.Sign), template(keyref.ECP256, keyref.Sign, label, true)
	for _, a := range slices.Concat(pub, priv) {
		switch a.Type {
		case pkcs11.CKA_EC_PARAMS:
			a.Value = params
		case pkcs11.CKA_ID:
			a.Value = []byte(id)
		}
	}
	_, _, err := t.mod.ctx.GenerateKeyPair(t.state.Load().anchor, mechOf(births[keyref.ECP256]), pub, priv)
	return err
}

// Remove destroys the objects of a class and label.
func (t *Token) Remove(label string, class uint) error {
	s := t.state.Load().anchor
	hs, err := t.find(s, 10, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label), pkcs11.NewAttribute(pkcs11.CKA_CLASS, class))
	for _, h := range hs {
		if err == nil {
			err = t.mod.ctx.DestroyObject(s, h)
		}
	}
	return err
}

// Logout takes the login away, as another part of the process might, which has a session
// of its own: SoftHSM crashes when one that is used is closed.
func (t *Token) Logout() error {
	s, err := t.openSession()
	if err != nil {
		return err
	}
	return errors.Join(t.mod.ctx.Logout(s), t.mod.ctx.CloseSession(s))
}

// CloseWorkers closes the workers' sessions under them.
func (t *Token) CloseWorkers() {
	for _, w := range t.engine.all {
		t.mod.ctx.CloseSession(w.session)
	}
}

// Idle returns how many sessions of the pool and how many workers are free.
func (t *Token) Idle() (sessions, workers int) {
	t.engine.mu.Lock()
	defer t.engine.mu.Unlock()
	return len(t.pool.free), len(t.engine.idle)
}

// AtOnce lets callers count as coming back at once up to d after their last call.
// Nobody may use the token meanwhile.
func (t *Token) AtOnce(d time.Duration) {
	for _, w := range t.engine.all {
		w.turns.atOnce = d
	}
}

// Queued returns how many jobs wait for a worker.
func (t *Token) Queued() int {
	t.engine.mu.Lock()
	defer t.engine.mu.Unlock()
	return len(t.engine.queue)
}

// Borrow takes all workers out of service until giveBack is called.
func (t *Token) Borrow() (giveBack func()) {
	e := t.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	ws := e.idle
	e.idle = nil
	return func() {
		for _, w := range ws {
			e.release(w)
		}
	}
}

// Kept returns how many derived keys the workers keep.
func (t *Token) Kept() (n int) {
	for _, w := range t.engine.all {
		if w.kept != nil {
			n += len(w.kept.at)
		}
	}
	return n
}

// Generation counts logins.
func (t *Token) Generation() uint64 { return t.state.Load().gen }

// LoginError is loginError.
func LoginError(code uint) error { return loginError(Config{Token: "vault"}, pkcs11.Error(code)) }

// PINsAt lets the memory of refused PINs go by another clock until restore is called.
func PINsAt(now func() time.Time) (restore func()) {
	set := func(now func() time.Time) (old func() time.Time) {
		refusedPINs.Lock()
		defer refusedPINs.Unlock()
		old, refusedPINs.now = refusedPINs.now, now
		return old
	}
	old := set(now)
	return func() { set(old) }
}

// RecycleAfter sets after how many objects the module is recycled, unless n is
// negative, and returns what it was. A recycling that was asked for ends first.
func (t *Token) RecycleAfter(n int64) int64 {
	t.mod.turn.Lock()
	defer t.mod.turn.Unlock()
	old := t.mod.recycled.after.Load()
	if n >= 0 {
		t.mod.recycled.after.Store(n)
	}
	return old
}
