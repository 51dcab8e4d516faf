package account

import (
	"context"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// Recon is what a day comes to, for comparison with what others say of it.
// Nothing in it is mended by itself.
type Recon struct {
	From, To  time.Time
	Terminals []TerminalDay
	Operators []OperatorDay
	Accounts  map[string]int64 // balance of each account of the ledger in fen, over all time
	// Mismatches name what does not agree inside this service: a balance of a wallet
	// that is not what its transfers come to, an operator who was not paid
	// what the records come to, a slot or an order to a card that does not explain
	// what the ledger holds for it in SUSPENSE, or in CARD_LOAD.
	Mismatches []Mismatch
	OpenCases  int
	// Loads are the orders to cards that hold money in SUSPENSE, or should; what they
	// do not explain of it, slots do.
	Loads []HeldLoad
}

// HeldLoad is what one order to a card holds in SUSPENSE, in fen.
type HeldLoad struct {
	ID    string
	Want  int64 // by the state of the order; 0 also where there is no such order
	Found int64 // in the ledger
}

// Loads knows the orders to cards.
type Loads interface {
	// Held lists orders that hold money in SUSPENSE, or should: first those of which
	// the ledger says otherwise than their state, a thousand at most.
	Held(ctx context.Context) ([]HeldLoad, error)
	// Astray lists orders of which the ledger holds in CARD_LOAD otherwise than their
	// state says, a thousand at most.
	Astray(ctx context.Context) ([]HeldLoad, error)
}

// TerminalDay is what one terminal recorded.
type TerminalDay struct {
	Terminal    [6]byte
	Count       int
	Sum         token.Amount
	First, Last uint32   // serial numbers
	Missing     int      // serial numbers between them that nobody uploaded
	Digest      [32]byte // SHA-256 over the ids of its taps, in the order of serial numbers
}

// OperatorDay is what one operator is owed for the taps of the day.
type OperatorDay struct {
	Operator string
	Records  int64 // what records come to: posted ones, and second uses that are paid
	Posted   int64 // what the ledger holds of it
	Unpaid   int64 // came too late, and the account was empty
}

// Mismatch is one thing that does not agree.
type Mismatch struct {
	What  string // wallet, operator, ledger, slot, load, card_load
	Name  string
	Want  int64
	Found int64
}

// Recon reconciles one civil day, from midnight to midnight: operators close their
// books by that, not by the cut-over.
func (s *Service) Recon(ctx context.Context, c access.Caller, day token.Day) (Recon, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.ReconRead, day.String()); err != nil {
		return Recon{}, err
	}
	from := time.Date(day.Year, day.Month, day.Day, 0, 0, 0, 0, s.cfg.Zone)
	r, err := s.cfg.Book.Recon(ctx, from, from.AddDate(0, 0, 1))
	if err != nil || s.cfg.Loads == nil {
		return r, err
	}
	if r.Loads, err = s.cfg.Loads.Held(ctx); err != nil {
		return Recon{}, fmt.Errorf("comparing orders to cards: %w", err)
	}
	for _, l := range r.Loads {
		if l.Want != l.Found {
			r.Mismatches = append(r.Mismatches, Mismatch{What: "load", Name: l.ID, Want: l.Want, Found: l.Found})
		}
	}
	astray, err := s.cfg.Loads.Astray(ctx)
	if err != nil {
		return Recon{}, fmt.Errorf("comparing orders to cards: %w", err)
	}
	for _, l := range astray {
		r.Mismatches = append(r.Mismatches, Mismatch{What: "card_load", Name: l.ID, Want: l.Want, Found: l.Found})
	}
	return r, nil
}
