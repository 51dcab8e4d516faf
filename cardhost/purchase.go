package cardhost

import (
	"context"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/gather"
	"github.com/tapvault/tapvault/internal/guess"
)

// PurchaseMAC1 makes the MAC1 with which a terminal orders a card's debit.
func (s *Service) PurchaseMAC1(ctx context.Context, c access.Caller, card Card, p cryptogram.Purchase) (mac1 [4]byte, err error) {
	if err := s.gate.Allow(ctx, c, access.PurchaseMake, card.object(s)); err != nil {
		return mac1, err
	}
	r, key, err := s.purchase(ctx, c, card, p)
	if err != nil {
		return mac1, err
	}
	if err := r.may(ctx); err != nil {
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
	return s.verify(ctx, c, PurchaseCheck{card, p, proof})
}

// PurchaseCheck is one purchase of a batch.
type PurchaseCheck struct {
	Card     Card
	Purchase cryptogram.Purchase
	Proof    PurchaseProof
}

// MaxBatch is how many purchases one batch may hold.
const MaxBatch = 500

// lanes is how many purchases of a batch are checked at a time: as many as go
// into the HSM behind one crossing, and those that wait for it.
const lanes = 32

// PurchaseVerifyBatch checks up to [MaxBatch] purchases as
// [Service.PurchaseVerify] does, each by itself and in its place.
func (s *Service) PurchaseVerifyBatch(ctx context.Context, c access.Caller, all []PurchaseCheck) ([]error, error) {
	if err := s.gate.Allow(ctx, c, access.PurchaseMake, "batch"); err != nil {
		return nil, err
	}
	if len(all) == 0 || len(all) > MaxBatch {
		return nil, fmt.Errorf("%w: a batch holds 1 to %d purchases", cryptogram.ErrMalformed, MaxBatch)
	}
	errs := make([]error, len(all))
	gather.Spread(len(all), lanes, func(i int) { errs[i] = s.verify(ctx, c, all[i]) })
	return errs, s.withhold(ctx, c, all, errs)
}

// withhold takes back which purchases of a batch hold, at cards at which its caller
// has shown too much that did not by now. What is asked together is judged in any
// order: the right one is told only after all wrong ones are counted.
func (s *Service) withhold(ctx context.Context, c access.Caller, all []PurchaseCheck, errs []error) error {
	shown, err := s.guard.Standing(ctx, c.ID)
	if errors.Is(err, guess.ErrMisses) {
		return s.gate.Refuse(ctx, c, access.PurchaseMake, "batch", "misses", err)
	}
	if err != nil || len(shown.Barred) == 0 {
		return err
	}
	for i, q := range all {
		if errs[i] != nil {
			continue
		}
		r := request{Service: s, caller: c, action: access.PurchaseMake, card: q.Card, scheme: s.realms[q.Card.Realm]}
		name, err := r.named(ctx)
		if err != nil {
			return err
		}
		if shown.Barred[name] {
			errs[i] = r.refuse(ctx, "misses", s.guard.Refuse(ctx, c.ID, shown))
		}
	}
	return nil
}

// verify checks a purchase of an allowed request.
func (s *Service) verify(ctx context.Context, c access.Caller, q PurchaseCheck) error {
	p, proof := q.Purchase, q.Proof
	r, key, err := s.purchase(ctx, c, q.Card, p)
	if err != nil {
		return err
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.leave()
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
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.leave()
	return r.tac(ctx, t, tac)
}
