package assembly

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/register"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// keySet are masters of one realm of which a version counts only as a whole,
// and the versions of them that are in use.
type keySet struct {
	realm  string
	usages []keyref.Usage
	named  []uint8 // by the configuration, the one that issues first
	apart  uint8   // a version that serves something else and never issues here; 0: none
	held   map[uint8]bool
	now    atomic.Pointer[[]uint8]
}

func newKeySet(realm string, usages []keyref.Usage, named []uint8, apart uint8) *keySet {
	k := &keySet{realm: realm, usages: usages, named: named, apart: apart, held: map[uint8]bool{}}
	for _, v := range named {
		k.held[v] = true
	}
	k.now.Store(&named)
	return k
}

// versions are those that verify, the one that issues first. It is not to be
// written to.
func (k *keySet) versions() []uint8 { return *k.now.Load() }

// verifies reports whether a version does.
func (k *keySet) verifies(v uint8) bool { return slices.Contains(k.versions(), v) }

// look takes in what transcripts say; ready makes a new version fit for use. It
// returns the version that issues from now on, if that is another one than
// before, or 0.
func (k *keySet) look(r register.Register, token string, ready func(keyref.Ref) bool) (changed uint8) {
	states := r.States(token)
	var all []uint8
	for _, v := range k.named {
		if !k.any(states, v, script.Retired, script.Destroyed) { // whatever the configuration says
			all = append(all, v)
		}
	}
	for _, v := range r.Verifying(token, k.realm, k.usages[0]) {
		if !slices.Contains(all, v) && k.each(states, v, script.Pending, script.Active, script.Retiring) && k.ready(v, ready) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	before := k.versions()[0]
	issuing := k.issuing(states, all, before)
	if i := slices.Index(all, issuing); i > 0 {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, issuing)
	}
	if len(all) == 0 { // the transcripts took the last one away: nothing verifies, and nothing can be issued
		all = []uint8{0}
	}
	k.now.Store(&all)
	if all[0] != before {
		return all[0]
	}
	return 0
}

// issuing is the only version of which every master is ACTIVE; while there are
// none or several, it is the one that issued before.
func (k *keySet) issuing(states map[string]script.State, all []uint8, before uint8) uint8 {
	var active []uint8
	for _, v := range all {
		if v != k.apart && k.each(states, v, script.Active) {
			active = append(active, v)
		}
	}
	if len(active) == 1 || len(active) > 1 && !slices.Contains(all, before) {
		return active[len(active)-1]
	}
	return before
}

func (k *keySet) ref(u keyref.Usage, v uint8) keyref.Ref {
	return keyref.Ref{Realm: k.realm, Usage: u, Version: v}
}

func (k *keySet) each(states map[string]script.State, v uint8, want ...script.State) bool {
	return !slices.ContainsFunc(k.usages, func(u keyref.Usage) bool { return !slices.Contains(want, states[k.ref(u, v).Label()]) })
}

func (k *keySet) any(states map[string]script.State, v uint8, want ...script.State) bool {
	return slices.ContainsFunc(k.usages, func(u keyref.Usage) bool { return slices.Contains(want, states[k.ref(u, v).Label()]) })
}

// ready requires every master of a version, once.
func (k *keySet) ready(v uint8, require func(keyref.Ref) bool) bool {
	if k.held[v] {
		return true
	}
	for _, u := range k.usages {
		if !require(k.ref(u, v)) {
			return false
		}
	}
	k.held[v] = true
	return true
}

// slotMasters are what every version of slots has.
var slotMasters = []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster}

// phones are the versions of a set that serve phones' slots, the one that issues
// first; 0, which is no version and of which no slot can be made, when none does.
func (k *keySet) phones() []byte {
	list := slices.DeleteFunc(slices.Clone(k.versions()), func(v byte) bool { return v == k.apart })
	if len(list) == 0 {
		return []byte{0}
	}
	return list
}

// issues is the version under which phones get slots.
func (k *keySet) issues() byte { return k.phones()[0] }

// rotation makes key sets follow the transcripts of key ceremonies while the
// service runs.
type rotation struct {
	*parts
	shelf *register.Shelf
	sets  []*keySet
	fails repeats
}

func (r *rotation) follow(k *keySet) *keySet {
	r.sets = append(r.sets, k)
	return k
}

// look reads the transcripts. Whatever cannot be read leaves keys as they are.
func (r *rotation) look(ctx context.Context) {
	said, err := r.shelf.Register()
	r.fails.warn(ctx, r.opt.Log, "the transcripts of key ceremonies cannot be read: keys stay as they are", err)
	if err != nil {
		return
	}
	if said.Transcripts() == 0 {
		return
	}
	for _, k := range r.sets {
		v := k.look(said, r.cfg.HSM.Token, func(ref keyref.Ref) bool { return r.require(ctx, ref) })
		if v != 0 {
			r.opt.Log.InfoContext(ctx, "another key version issues", "realm", k.realm, "usage", string(k.usages[0]), "version", v)
		}
	}
}

func (r *rotation) require(ctx context.Context, ref keyref.Ref) bool {
	if err := r.hsm.RequireLate(ctx, ref); err != nil {
		r.opt.Log.WarnContext(ctx, "a new key version is not fit for use", "key", ref.Label(), "error", err.Error())
		return false
	}
	return true
}
