package account

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/cryptogram/softkey"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// SlotKeys is what this package needs of the HSM. The keys of slots are used
// once and made to leave it; the caller wipes them.
type SlotKeys interface {
	// SlotKeys returns the key of each slot under a token's key, which is two
	// levels below a slot master.
	SlotKeys(ctx context.Context, path keyref.Path, uds []keyref.Factor) ([][16]byte, error)
}

// Names of a slot's two keys in the ring that one judgement lives with.
var (
	dpk = keyref.Path{Key: keyref.Ref{Realm: "slot", Usage: keyref.PurchaseMaster, Version: 1}}
	dtk = keyref.Path{Key: keyref.Ref{Realm: "slot", Usage: keyref.FoldedTAC, Version: 1}}
)

// prove checks MAC2 and the TAC, always both, because together they tell an
// altered record from a forged one.
//
// The slot's two keys come out of the HSM for this one record: one call each,
// where the MACs inside would be nine. They were in a phone's memory before.
func (s *Service) prove(ctx context.Context, t Tap) (mac2, tac bool, err error) {
	var ring softkey.Ring
	defer ring.Close()
	for _, k := range []struct {
		master keyref.Usage
		name   keyref.Ref
	}{{keyref.SlotPurchaseMaster, dpk.Key}, {keyref.SlotTACMaster, dtk.Key}} {
		if err := s.fetch(ctx, &ring, k.master, k.name, t); err != nil {
			return false, false, fmt.Errorf("judging a tap: %w", err)
		}
	}
	_, want, err := cryptogram.PurchaseMACs(ctx, &ring, dpk, t.Purchase())
	if err != nil {
		return false, false, fmt.Errorf("judging a tap: %w", err)
	}
	receipt, err := cryptogram.TAC(ctx, &ring, dtk, cryptogram.TACFold, t.Purchase())
	if err != nil {
		return false, false, fmt.Errorf("judging a tap: %w", err)
	}
	return cryptogram.Match(want, t.MAC2), cryptogram.Match(receipt, t.TAC), nil
}

// fetch puts the key of t's slot under one master into the ring.
func (s *Service) fetch(ctx context.Context, ring *softkey.Ring, master keyref.Usage, name keyref.Ref, t Tap) error {
	card := cryptogram.Card{Issuer: t.Issuer, ASN: t.Number.ASN()}
	token, err := keyref.Ref{Realm: s.cfg.Realm, Usage: master, Version: t.KeyVer}.Path(card.Issuer, card.ASN8())
	if err != nil {
		return err
	}
	keys, err := s.cfg.Keys.SlotKeys(ctx, token, []keyref.Factor{t.UD.Bytes()})
	defer clear(keys)
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("got %d keys for one slot", len(keys))
	}
	if err != nil {
		return err
	}
	return ring.ImportScratch(ctx, name, keys[0][:])
}
