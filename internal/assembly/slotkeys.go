package assembly

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/keyceremony/register"
	"github.com/tapvault/tapvault/keyceremony/script"
)

// slotKeys are the versions of the slot masters in use. Key ceremonies change
// them while the service runs: the version that is ACTIVE issues; those that are
// PENDING or RETIRING verify only. What the configuration names holds where no
// transcript says anything.
type slotKeys struct {
	cfg    Config
	hsm    *hsm.Token
	opt    Options
	shelf  *register.Shelf
	held   map[uint8]bool // versions whose masters are ready; of look alone
	phone  atomic.Pointer[[]byte]
	verify atomic.Pointer[[]byte]
}

func newSlotKeys(c Config, t *hsm.Token, o Options) *slotKeys {
	s := &slotKeys{cfg: c, hsm: t, opt: o, shelf: c.Shelf(o.Now), held: map[uint8]bool{}}
	all := c.slotVersions()
	for _, v := range all {
		s.held[v] = true
	}
	s.set(c.Slots.KeyVersion, all)
	return s
}

func (s *slotKeys) set(issuing uint8, verifying []byte) {
	var phone []byte
	for _, v := range verifying {
		if v != issuing && v != s.cfg.Slots.ElementKeyVersion {
			phone = append(phone, v)
		}
	}
	phone = append([]byte{issuing}, phone...)
	s.phone.Store(&phone)
	s.verify.Store(&verifying)
}

// phones are the versions of phones' slots, the one that issues first.
func (s *slotKeys) phones() []byte { return *s.phone.Load() }

// issuing is the version under which phones get slots.
func (s *slotKeys) issuing() byte { return s.phones()[0] }

// verifying are the versions of which taps are taken.
func (s *slotKeys) verifying() []byte { return *s.verify.Load() }

// masters are what every version has.
var slotMasters = []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster}

// look reads the transcripts, and makes new versions ready before anything is
// done with them.
func (s *slotKeys) look(ctx context.Context) {
	r, err := s.shelf.Register()
	if err != nil {
		s.opt.Log.WarnContext(ctx, "the transcripts of key ceremonies cannot be read: keys stay as they are", "error", err.Error())
		return
	}
	if r.Transcripts() == 0 {
		return
	}
	token, realm, element := s.cfg.HSM.Token, s.cfg.Slots.Realm, s.cfg.Slots.ElementKeyVersion
	var verifying []uint8
	for _, v := range s.cfg.slotVersions() {
		switch r.States(token)[s.ref(keyref.SlotPurchaseMaster, v).Label()] {
		case script.Retired, script.Destroyed: // whatever the configuration says
		default:
			verifying = append(verifying, v)
		}
	}
	for _, v := range r.Verifying(token, realm, keyref.SlotPurchaseMaster) {
		if slices.Contains(r.Verifying(token, realm, keyref.SlotTACMaster), v) && !slices.Contains(verifying, v) && s.ready(ctx, v) {
			verifying = append(verifying, v)
		}
	}
	issuing := s.issuing()
	p, ok := r.Active(token, realm, keyref.SlotPurchaseMaster, element)
	t, ok2 := r.Active(token, realm, keyref.SlotTACMaster, element)
	if ok && ok2 && p == t && slices.Contains(verifying, p) {
		if issuing != p {
			s.opt.Log.InfoContext(ctx, "slots are issued under another key version", "version", p)
		}
		issuing = p
	}
	s.set(issuing, verifying)
}

func (s *slotKeys) ref(u keyref.Usage, v uint8) keyref.Ref {
	return keyref.Ref{Realm: s.cfg.Slots.Realm, Usage: u, Version: v}
}

// ready requires both masters of a version.
func (s *slotKeys) ready(ctx context.Context, v uint8) bool {
	if s.held[v] {
		return true
	}
	for _, u := range slotMasters {
		if err := s.hsm.RequireLate(ctx, s.ref(u, v)); err != nil {
			s.opt.Log.WarnContext(ctx, "a new key version is not fit for use", "version", v, "error", err.Error())
			return false
		}
	}
	s.held[v] = true
	return true
}
