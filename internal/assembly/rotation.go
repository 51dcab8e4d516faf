package assembly

import (
	"context"
	"maps"
	"slices"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/issuerhost"
)

// followed are the key sets of the configuration: those of slots, of each master
// of a realm of cards, and of each EMV issuer. Masters that SM4 is computed with
// in memory are none of them: they are read once.
type followed struct {
	slots   *keySet
	cards   map[string]map[keyref.Usage]*keySet
	issuers map[string]*keySet
}

// followKeys looks once, and then every few seconds until stop is called.
func (p *parts) followKeys(ctx context.Context) (stop func() error) {
	r := &rotation{parts: p, shelf: p.cfg.Shelf(p.opt.Now)}
	p.keys = followed{r.follow(p.cfg.slotSet()), map[string]map[keyref.Usage]*keySet{}, map[string]*keySet{}}
	for _, realm := range p.cfg.Realms {
		if len(realm.Factors) == 0 { // its keys are one card's own
			continue
		}
		sets := map[keyref.Usage]*keySet{}
		for _, u := range p.cfg.HSM.SM4.masters(realm, false) {
			sets[u] = r.follow(newKeySet(realm.Name, []keyref.Usage{u}, versions(realm), 0))
		}
		p.keys.cards[realm.Name] = sets
	}
	for _, i := range p.cfg.issuers() {
		if set := p.issuerSet(i); set != nil {
			p.keys.issuers[i.Realm] = r.follow(set)
		}
	}
	r.look(ctx)
	return p.chores.look(ctx, "key-versions", readShelfEvery, r.look)
}

func (c Config) slotSet() *keySet {
	return newKeySet(c.Slots.Realm, slotMasters, c.slotVersions(), c.Slots.ElementKeyVersion)
}

// issuerSet are all masters of an issuer: one version number stands for them on
// a card.
func (p *parts) issuerSet(i issuerhost.Issuer) *keySet {
	refs, _ := issuerhost.Keys([]issuerhost.Issuer{i}, p.cfg.EMV.Profiles) // Validate has read them
	var usages []keyref.Usage
	for _, ref := range refs {
		if !slices.Contains(usages, ref.Usage) {
			usages = append(usages, ref.Usage)
		}
	}
	if len(usages) == 0 {
		return nil
	}
	return newKeySet(i.Realm, usages, i.Versions, 0)
}

// schemes are the realms of cards. A card names the version of its keys: one that
// the configuration does not map is that of the same number, as soon as a
// ceremony made it.
func (p *parts) schemes() (all []cryptogram.Scheme) {
	for _, realm := range p.cfg.Realms {
		s := realm.Scheme()
		if sets := p.keys.cards[realm.Name]; len(sets) > 0 {
			named := maps.Clone(realm.KeyVersions)
			s.Follow = func(u keyref.Usage, keyVer byte) (uint8, bool) {
				v, mapped := named[keyVer]
				set := sets[u]
				if set == nil {
					return v, mapped
				}
				if !mapped {
					v = keyVer
				}
				return v, set.verifies(v)
			}
		}
		all = append(all, s)
	}
	return all
}

// issuers are those of EMV cards, with the versions that are in use.
func (p *parts) issuers() []issuerhost.Issuer {
	all := p.cfg.issuers()
	for i := range all {
		if set := p.keys.issuers[all[i].Realm]; set != nil {
			all[i].Follow = set.versions
		}
	}
	return all
}
