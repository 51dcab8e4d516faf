package cardhost

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
)

// PurchaseMAC1 makes the MAC1 with which a terminal orders a card's debit.
func (s *Service) PurchaseMAC1(ctx context.Context, c access.Caller, card Card, p cryptogram.Purchase) (mac1 [4]byte, err error) {
	if err := s.gate.Allow(ctx, c, access.PurchaseMake, card.object(s)); err != nil {
		return mac1, err
	}
	_, key, err := s.purchase(ctx, c, card, p)
	if err != nil {
		return mac1, err
	}
	return cryptogram.PurchaseMAC1(ctx, s.keys, key, p)
}

// PurchaseProof is what a card answered to a debit.
type PurchaseProof struct {
	MAC2 [4]byte
	MAC1 *[4]byte // what the terminal sent, if it is to be checked as well
	TAC  *[4]byte // if it is to be checked as well
}

// PurchaseVerify checks what a card answered to a debit.
func (s *Service) PurchaseVerify(ctx context.Context, c access.Caller, card Card, p cryptogram.Purchase, proof PurchaseProof) error {
	if err := s.gate.Allow(ctx, c, access.PurchaseMake, card.object(s)); err != nil {
		return err
	}
	r, key, err := s.purchase(ctx, c, card, p)
	if err != nil {
		return err
	}
	mac1, mac2, err := cryptogram.PurchaseMACs(ctx, s.keys, key, p)
	if err != nil {
		return err
	}
	if err := r.matches(ctx, "mac2", mac2, proof.MAC2); err != nil {
		return err
	}
	if proof.MAC1 != nil {
		if err := r.matches(ctx, "mac1", mac1, *proof.MAC1); err != nil {
			return err
		}
	}
	if proof.TAC == nil {
		return nil
	}
	return r.tac(ctx, p, *proof.TAC)
}

// purchase opens a request about a purchase and finds the key.
func (s *Service) purchase(ctx context.Context, c access.Caller, card Card, p cryptogram.Purchase) (request, keyref.Path, error) {
	r, err := s.open(ctx, c, access.PurchaseMake, card)
	if err != nil {
		return r, keyref.Path{}, err
	}
	if err := r.scheme.Purchase(p); err != nil {
		return r, keyref.Path{}, err
	}
	key, err := r.key(keyref.PurchaseMaster)
	return r, key, err
}

// TACVerify checks the TAC of a purchase, load or overdraft update.
func (s *Service) TACVerify(ctx context.Context, c access.Caller, card Card, t cryptogram.Receipted, tac [4]byte) error {
	if err := s.gate.Allow(ctx, c, s.check, card.object(s)); err != nil {
		return err
	}
	r, err := s.open(ctx, c, s.check, card)
	if err != nil {
		return err
	}
	if err := t.Validate(); err != nil {
		return err
	}
	return r.tac(ctx, t, tac)
}
