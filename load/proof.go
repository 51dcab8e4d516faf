package load

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/cryptogram"
)

// Confirm takes the card's acknowledgement: the TAC of a load or of a limit
// update, the MAC3 of an unload.
func (s *Service) Confirm(ctx context.Context, c access.Caller, id string, card cardhost.Card, tac [4]byte) (Record, error) {
	return s.learn(ctx, c, id, card, func(ctx context.Context, r Record) (Finding, error) {
		switch r.Kind {
		case Credit:
			return Proven, s.cfg.Proofs.TACVerify(ctx, c, card, r.credit(), tac)
		case Debit:
			return Proven, s.cfg.Proofs.UnloadVerify(ctx, c, card, r.debit(), tac)
		}
		return Proven, s.cfg.Proofs.TACVerify(ctx, c, card, r.overdraft(), tac)
	})
}

// Reverse finds out what became of an order whose acknowledgement is lost, from
// what the card shows when it is initialised for a load under the terminal
// number of the record's probe.
func (s *Service) Reverse(ctx context.Context, c access.Caller, id string, card cardhost.Card, shown Shown, mac1 [4]byte) (Record, error) {
	return s.learn(ctx, c, id, card, func(ctx context.Context, r Record) (Finding, error) {
		return r.find(shown), s.cfg.Proofs.Shown(ctx, c, card, r.probe(shown), mac1)
	})
}

// maxMisses bounds how often a MAC of four bytes can be guessed about one load.
const maxMisses = 10

// tries is how often an order is looked at that others change at the same time.
const tries = 3

// prover judges what a card shows of an order.
type prover func(context.Context, Record) (Finding, error)

// learn moves an order by what its card says. What it says is about the order as
// it was read: when that was given out anew meanwhile, it is judged again. From when
// a proof is judged, that is no longer bound to the caller's connection: a wrong one
// is recorded and counted also when the caller hung up. Before that it waits until the
// proofs before it are counted.
func (s *Service) learn(ctx context.Context, c access.Caller, id string, card cardhost.Card, prove prover) (r Record, err error) {
	if err := s.cfg.Gate.Check(ctx, c, access.CardLoad, object(id)); err != nil {
		return Record{}, err
	}
	if err := ctx.Err(); err != nil {
		return Record{}, fmt.Errorf("looking for a load: %w", err)
	}
	leave, err := s.lanes.Turn(ctx, id)
	if err != nil {
		return Record{}, fmt.Errorf("waiting for another proof of a load: %w", err)
	}
	defer leave()
	ctx = context.WithoutCancel(ctx)
	for range tries {
		if r, err = s.find(ctx, c, id); err != nil {
			return Record{}, err
		}
		found, err := s.judge(ctx, c, r, card, prove)
		if err != nil {
			return Record{}, err
		}
		if r, err = s.cfg.Store.Finish(ctx, id, r.Revision, found); err == nil {
			return r, nil
		}
		if !errors.Is(err, ErrChanged) {
			return Record{}, fmt.Errorf("finishing a load: %w", err)
		}
	}
	return Record{}, ErrChanged
}

// judge checks that it is the order's card that speaks, and what it says.
func (s *Service) judge(ctx context.Context, c access.Caller, r Record, card cardhost.Card, prove prover) (Finding, error) {
	name, err := s.name(ctx, card)
	if err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare(name[:], r.Card[:]) != 1 {
		return "", s.refuse(ctx, c, r.ID, "card", ErrCard)
	}
	if r.Misses >= maxMisses {
		return "", s.refuse(ctx, c, r.ID, "misses", ErrMisses)
	}
	found, err := prove(ctx, r)
	if errors.Is(err, cryptogram.ErrMismatch) {
		if err := s.cfg.Store.Miss(ctx, r.ID); err != nil {
			return "", fmt.Errorf("counting a miss: %w", err)
		}
	}
	return found, err
}
