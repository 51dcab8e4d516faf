// Package keyceremony gives whole sets of keys their birth at once, on tokens of
// tests, measurements and rehearsals.
//
// [Rehearse] generates inside its token what one token needs. Masters that two
// tokens share, such as those of a terminal's PSAM, cannot be made so: three random
// components of 16 bytes are xored in memory, the result is imported on each token
// and wiped. No key that exists is ever overwritten.
//
// A real ceremony is done by people, from a script, and leaves a signed transcript:
// package script reads what is to be done, engine does it, officer and shamir stand
// for its people and what they share, transcript is the record, and register says
// from such records in which state each key is. The command keyceremony is all of
// these together.
package keyceremony

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/hsm/keyref"
)

// Token is what a ceremony needs of a token; *hsm.Token is one.
type Token interface {
	// Generate makes a key inside; Import makes one of a given value. Both
	// refuse a label that exists, and leave nothing behind when they fail.
	Generate(ctx context.Context, ref keyref.Ref) error
	Import(ctx context.Context, ref keyref.Ref, value []byte) error
	// Inventory lists the stored keys with their check values.
	Inventory(ctx context.Context) ([]keyref.Info, error)
}

// Holder is one token of a plan and the keys it shall hold.
type Holder struct {
	Name  string // for the record, such as "service" or "psam"
	Token Token
	Keys  []keyref.Ref
}

// Plan says which keys shall be born where. A key that several holders name is
// shared between them.
type Plan struct {
	Holders []Holder
	Rand    io.Reader // of the components; nil means crypto/rand
}

// Birth is the record of one key.
type Birth struct {
	Key     keyref.Ref
	Holders []string
	Shared  bool               // combined from components, else generated inside
	Check   *keyref.CheckValue // equal on every holder
}

// Errors of [Rehearse].
var (
	// ErrExists reports a key of the plan that a holder has already: nothing was done.
	ErrExists = errors.New("keyceremony: the key exists already")
	// ErrWeak reports components that are zero or equal, or whose xor is a weak DES key
	// or one that was made before. An honest source of randomness gives none of them.
	ErrWeak = errors.New("keyceremony: the components give a weak key")
	// ErrPlan reports a plan that names something that is no key, a key of one holder
	// twice, or a key of two holders that is no master.
	ErrPlan = errors.New("keyceremony: the plan cannot be carried out")
	// ErrDiffer reports a shared key whose check values are not equal on its holders.
	ErrDiffer = errors.New("keyceremony: the tokens disagree about a key")
)

// ServiceKeys lists the keys of the service's own token for one realm of cards
// and version 1: every master, and the service's own keys.
func ServiceKeys(realm string) []keyref.Ref {
	refs := RealmKeys(realm)
	for _, u := range []keyref.Usage{keyref.PANSeal, keyref.RangeKEK, keyref.PANIndex, keyref.PARKey, keyref.Script,
		keyref.CredSign, keyref.JWTSign, keyref.Intake, keyref.ResultSign, keyref.WebhookSign, keyref.PINSeal,
		keyref.PINVerify, keyref.DenySign, keyref.SyncIntake, keyref.AuditSign} {
		refs = append(refs, keyref.Ref{Usage: u, Version: 1})
	}
	return refs
}

// RealmKeys lists the masters of one realm, version 1.
func RealmKeys(realm string) (refs []keyref.Ref) {
	for _, u := range []keyref.Usage{keyref.PurchaseMaster, keyref.LoadMaster, keyref.TACMaster, keyref.UnloadMaster,
		keyref.OverdraftMaster, keyref.SlotPurchaseMaster, keyref.SlotTACMaster} {
		refs = append(refs, keyref.Ref{Realm: realm, Usage: u, Version: 1})
	}
	return refs
}

// EMVKeys lists the issuer's keys for one range of EMV cards or tokens, version
// 1. AES cards have [keyref.ACMasterAES] in the place of [keyref.ACMaster].
func EMVKeys(realm string) (refs []keyref.Ref) {
	for _, u := range []keyref.Usage{keyref.ACMaster, keyref.IntegrityMaster, keyref.ConfidentialityMaster, keyref.DynamicMaster,
		keyref.CVC3Master, keyref.CVK, keyref.DeviceMaster, keyref.UserMaster, keyref.LimitedUseMaster} {
		refs = append(refs, keyref.Ref{Realm: realm, Usage: u, Version: 1})
	}
	return refs
}

// PSAMKeys lists what a terminal's PSAM shares with the service: the purchase
// masters of cards and of slots. TAC masters never enter a PSAM.
func PSAMKeys(realm string) []keyref.Ref {
	return []keyref.Ref{
		{Realm: realm, Usage: keyref.PurchaseMaster, Version: 1},
		{Realm: realm, Usage: keyref.SlotPurchaseMaster, Version: 1},
	}
}

// Rehearse carries a plan out and returns a record of every birth, in the
// order of the plan. It begins only when no key of the plan exists on any
// holder. When a step fails, the keys born before it stay, and the error names
// the step.
func Rehearse(ctx context.Context, p Plan) ([]Birth, error) {
	if p.Rand == nil {
		p.Rand = rand.Reader
	}
	births, at, err := p.births()
	if err != nil {
		return nil, err
	}
	if err := p.vacant(ctx); err != nil {
		return nil, err
	}
	drawn := masters{rand: p.Rand}
	for i := range births {
		b := &births[i]
		if err := p.bear(ctx, b, at[b.Key], &drawn); err != nil {
			return nil, fmt.Errorf("giving birth to %v: %w", b.Key, err)
		}
	}
	return births, p.record(ctx, births)
}

// births turns the plan round: from keys per holder to holders per key.
func (p Plan) births() ([]Birth, map[keyref.Ref][]Holder, error) {
	var list []Birth
	at := map[keyref.Ref][]Holder{}
	for _, h := range p.Holders {
		for _, r := range h.Keys {
			for _, other := range at[r] {
				if other.Name == h.Name {
					return nil, nil, fmt.Errorf("%w: %s names %v twice", ErrPlan, h.Name, r)
				}
			}
			if !r.Valid() {
				return nil, nil, fmt.Errorf("%w: %q is no key reference", ErrPlan, r.Label())
			}
			if at[r] == nil {
				list = append(list, Birth{Key: r})
			}
			at[r] = append(at[r], h)
		}
	}
	for i := range list {
		b := &list[i]
		for _, h := range at[b.Key] {
			b.Holders = append(b.Holders, h.Name)
		}
		b.Shared = len(b.Holders) > 1
		if s, _ := b.Key.Usage.Spec(); b.Shared && !s.Master() {
			return nil, nil, fmt.Errorf("%w: %v is no master and cannot be shared", ErrPlan, b.Key)
		}
	}
	return list, at, nil
}

// vacant refuses a plan of which any key exists.
func (p Plan) vacant(ctx context.Context) error {
	for _, h := range p.Holders {
		list, err := h.Token.Inventory(ctx)
		if err != nil {
			return fmt.Errorf("reading the keys of %s: %w", h.Name, err)
		}
		held := map[keyref.Ref]bool{}
		for _, i := range list {
			held[i.Ref] = true
		}
		for _, r := range h.Keys {
			if held[r] {
				return fmt.Errorf("%w: %v on %s", ErrExists, r, h.Name)
			}
		}
	}
	return nil
}

// bear makes one key on all its holders.
func (p Plan) bear(ctx context.Context, b *Birth, at []Holder, m *masters) error {
	if !b.Shared {
		return at[0].Token.Generate(ctx, b.Key)
	}
	key, err := m.draw()
	if err != nil {
		return err
	}
	defer clear(key)
	for _, h := range at {
		if err := h.Token.Import(ctx, b.Key, key); err != nil {
			return fmt.Errorf("on %s: %w", h.Name, err)
		}
	}
	return nil
}

// record fills in the check values, and compares those of shared keys.
func (p Plan) record(ctx context.Context, births []Birth) error {
	checks := map[string]map[keyref.Ref]*keyref.CheckValue{}
	for _, h := range p.Holders {
		list, err := h.Token.Inventory(ctx)
		if err != nil {
			return fmt.Errorf("reading the keys of %s: %w", h.Name, err)
		}
		checks[h.Name] = map[keyref.Ref]*keyref.CheckValue{}
		for _, i := range list {
			checks[h.Name][i.Ref] = i.Check
		}
	}
	for i := range births {
		b := &births[i]
		for k, name := range b.Holders {
			c := checks[name][b.Key]
			if k == 0 {
				b.Check = c
			} else if b.Check != nil && (c == nil || *c != *b.Check) {
				return fmt.Errorf("%w: %v on %s and %s", ErrDiffer, b.Key, b.Holders[0], name)
			}
		}
	}
	return nil
}
