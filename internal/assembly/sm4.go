package assembly

import (
	"cmp"
	"context"
	"slices"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/hsm/group"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/hsm/softring"
)

// sm4Seal seals SM4 keys that are used in memory.
var sm4Seal = keyref.Ref{Usage: keyref.SM4Seal, Version: 1}

func (s SM4) numbers() hsm.SM4 {
	return hsm.SM4{KeyType: s.KeyType, Derive: s.Derive, CBC: s.CBC, ValueLen: s.ValueLen}
}

func (c Config) validateSM4(v *checker) {
	s := c.HSM.SM4
	n := s.numbers()
	if n.Set() && (n.KeyType == 0 || n.Derive == 0 || n.CBC == 0) {
		v.add("hsm.sm4: key_type, derive and cbc go together")
	}
	if n.Set() && s.SoftwareKeys != "" {
		v.add("hsm.sm4.software_keys: not for a module that has SM4")
	}
	for _, r := range c.Realms {
		if computes(r, cryptogram.SM4) && !n.Set() && s.SoftwareKeys == "" {
			v.add("realms: %s computes sm4, and hsm.sm4 does not say where", r.Name)
		}
		if r.Name == c.Slots.Realm && r.Algorithms[c.Slots.AlgorithmID] == cryptogram.SM4 {
			v.add("slots.algorithm_id: phones compute 3des")
		}
	}
}

func computes(r Realm, algorithm string) bool {
	for _, a := range r.Algorithms {
		if a == algorithm {
			return true
		}
	}
	return false
}

// masters lists the usages of a realm's masters, of those that the HSM holds or
// else of those that are used in memory.
func (s SM4) masters(r Realm, software bool) (us []keyref.Usage) {
	if !software && (computes(r, cryptogram.TDES) || !computes(r, cryptogram.SM4)) {
		us = append(us, masterUsages...)
	}
	if computes(r, cryptogram.SM4) && software == (s.SoftwareKeys != "") {
		for _, u := range masterUsages {
			u, _ = u.SM4()
			us = append(us, u)
		}
	}
	return us
}

// SoftwareKeys lists the masters that are used in memory.
func (c Config) SoftwareKeys() (refs []keyref.Ref) {
	for _, r := range c.Realms {
		if len(r.Factors) == 0 || c.HSM.SM4.SoftwareKeys == "" {
			continue
		}
		for _, v := range versions(r) {
			for _, u := range c.HSM.SM4.masters(r, true) {
				refs = append(refs, keyref.Ref{Realm: r.Name, Usage: u, Version: v})
			}
		}
	}
	return refs
}

// SoftwareFolder makes the key ready that seals SM4 keys, and returns where they
// are; ok is false when none are used in memory.
func (c Config) SoftwareFolder(ctx context.Context, t *group.Group) (f softring.Folder, ok bool, err error) {
	if c.HSM.SM4.SoftwareKeys == "" {
		return f, false, nil
	}
	return softring.Folder{Dir: c.Path(c.HSM.SM4.SoftwareKeys), Sealer: t, Key: sm4Seal}, true, t.Require(ctx, sm4Seal)
}

// openPurse says who computes for the realms of cards: the HSM, and for SM4
// memory where it is configured so.
func (p *parts) openPurse(ctx context.Context, s *Service) error {
	p.purse = p.hsm
	f, ok, err := p.cfg.SoftwareFolder(ctx, p.hsm)
	if err != nil || !ok {
		return err
	}
	ring, err := softring.New()
	if err != nil {
		return err
	}
	s.closers = append(s.closers, ring.Close)
	p.purse = cryptogram.Split{SM4: ring, Other: p.hsm}
	refs := p.cfg.SoftwareKeys()
	stored, err := f.Stored()
	for _, ref := range stored {
		if slices.Contains(p.cfg.cardRealms(), ref.Realm) {
			refs = append(refs, ref)
		}
	}
	if err != nil {
		return err
	}
	p.opt.Log.Warn("SM4 keys are used in the memory of this process", "keys", len(refs))
	return f.Load(ctx, ring, refs...)
}

// allKeys lists the keys of the HSM and those that it only seals.
type allKeys struct {
	cfg   Config
	token *group.Group
}

// Inventory implements [inventory.Token].
func (a allKeys) Inventory(ctx context.Context) ([]keyref.Info, error) {
	return Inventory(ctx, a.cfg, a.token)
}

// Inventory lists the keys of the HSM and those that it only seals, in the order
// of their labels.
func Inventory(ctx context.Context, c Config, t *group.Group) ([]keyref.Info, error) {
	list, err := t.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	f, ok, err := c.SoftwareFolder(ctx, t)
	if err != nil || !ok {
		return list, err
	}
	more, err := f.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	list = append(list, more...)
	slices.SortFunc(list, func(a, b keyref.Info) int { return cmp.Compare(a.Ref.Label(), b.Ref.Label()) })
	return list, nil
}
