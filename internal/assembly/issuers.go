package assembly

import (
	"context"

	"github.com/tapvault/tapvault/cryptogram/emv"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/issuerhost"
	"github.com/tapvault/tapvault/issuerhost/counterdb"
)

// EMV says for which issuers of EMV cards the service answers.
type EMV struct {
	// Profiles are schemes besides the built-in ones, or instead of those of the
	// same name: name, master, session, fields, padding, response, iad. See
	// docs/emv.md.
	Profiles []emv.Profile `yaml:"profiles"`
	// Issuers are families of cards or tokens that share masters. Empty: the
	// service answers for no EMV cards.
	Issuers []EMVIssuer `yaml:"issuers"`
	// CardKeysInMemory serves Visa's scripts for CVN 10 and 18 and its PIN blocks,
	// for which the keys of one card are in the memory of the service for a call.
	CardKeysInMemory bool `yaml:"card_keys_in_memory"`
}

// EMVIssuer is a family of cards or tokens that share masters.
type EMVIssuer struct {
	// Realm begins the labels of its keys. Required.
	Realm string `yaml:"realm"`
	// Prefixes are what its numbers begin with, 2 to 12 digits; the longest that
	// fits a number counts. At least one.
	Prefixes []string `yaml:"prefixes"`
	// Profiles are the names of the profiles that it uses. At least one.
	Profiles []string `yaml:"profiles"`
	// Keys are usages of keys that it has besides those of its profiles: cvk, cvc3,
	// imk-smi, imk-smc, imk-md, imk-umd. What needs another is refused.
	Keys []keyref.Usage `yaml:"keys"`
	// KeyVersions are the versions of its masters; requests that name none mean
	// the first. Empty: version 1.
	KeyVersions []uint8 `yaml:"key_versions"`
	// Requestors are the token requestors whose callers are served, 11 digits
	// each. Empty: every caller with the right.
	Requestors []string `yaml:"requestors"`
	// ATCAhead is how far a transaction counter may jump. 0: 1000.
	ATCAhead uint16 `yaml:"atc_ahead"`
	// ATCBehind is how far an unused one may lie behind, 0 to 63.
	ATCBehind uint8 `yaml:"atc_behind"`
}

func (c Config) issuers() (all []issuerhost.Issuer) {
	for _, i := range c.EMV.Issuers {
		if len(i.KeyVersions) == 0 {
			i.KeyVersions = []uint8{1}
		}
		all = append(all, issuerhost.Issuer{Realm: i.Realm, Prefixes: i.Prefixes, Profiles: i.Profiles, Versions: i.KeyVersions, Extra: i.Keys,
			Requestors: i.Requestors, Ahead: i.ATCAhead, Behind: i.ATCBehind})
	}
	return all
}

// issuerHost answers for the EMV cards of the configuration's issuers.
func (p *parts) issuerHost(ctx context.Context, controls issuerhost.Controls) (*issuerhost.Service, error) {
	sealed, err := p.intake(ctx)
	if err != nil {
		return nil, err
	}
	names, key := p.names()
	kept := counterdb.New(p.db, p.opt.Now)
	var reveal emv.Revealer
	if p.cfg.EMV.CardKeysInMemory {
		reveal = p.hsm
	}
	return issuerhost.New(issuerhost.Config{Opener: sealed, Reveal: reveal,
		Keys: p.hsm, Gate: p.gate, Issuers: p.issuers(), Profiles: p.cfg.EMV.Profiles,
		Tokens: p.vault.Reader(), Ranges: p.vault, Names: names, NameKey: key,
		Counters: kept, Controls: controls, Uses: kept, PINs: kept, Now: p.opt.Now})
}
