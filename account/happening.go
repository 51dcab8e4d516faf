package account

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/ledger"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// HappeningKind is what can happen to an account from outside.
type HappeningKind string

// Kinds.
const (
	TopUp        HappeningKind = "TOP_UP"        // money came in
	WebSpend     HappeningKind = "WEB_SPEND"     // money goes out: of what is free, then on credit
	Refund       HappeningKind = "REFUND"        // of web spending: it comes back
	CardBound    HappeningKind = "CARD_BOUND"    // debts can be charged to a card
	CardUnbound  HappeningKind = "CARD_UNBOUND"  // no more credit
	ChargeFailed HappeningKind = "CHARGE_FAILED" // what is owed could not be charged to the card
)

// Happening is one thing that happened, under the id of who tells it.
type Happening struct {
	ID     string // 1 to 64 printable ASCII characters
	Kind   HappeningKind
	Amount token.Amount // of the first three kinds, up to 10,000,000 fen; 0 of others
}

// Errors of happenings.
var (
	// ErrHappening reports an event that is not in this form.
	ErrHappening = fault.New(fault.Malformed, "an account event has an id, a kind, and an amount if it moves money")
	// ErrHolds reports money that would take a wallet past what it may hold.
	ErrHolds = fault.New(fault.WalletState, "a wallet holds 10,000,000 yuan at most")
	// ErrHappeningReused reports an event whose id stands for another one.
	ErrHappeningReused = fault.New(fault.KeyReused, "this event id was used for another event")
)

var happeningID = regexp.MustCompile(`^[!-~]{1,64}$`)

// maxMoved bounds what one event moves: 100,000 yuan.
const maxMoved token.Amount = 10_000_000

// maxHeld bounds what a wallet holds by events: 10,000,000 yuan. Amounts have 32
// bits; what cards bring besides fits too.
const maxHeld = 1_000_000_000

// Happen makes an event take effect, once for each id, and returns the balances after it.
func (s *Service) Happen(ctx context.Context, c access.Caller, id token.WalletID, h Happening) (Balances, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.AccountPost, string(id)); err != nil {
		return Balances{}, err
	}
	if _, err := s.own(ctx, c, access.AccountPost, id); err != nil {
		return Balances{}, err
	}
	if err := h.check(); err != nil {
		return Balances{}, err
	}
	f, err := s.cfg.Book.Happen(ctx, id, h)
	if err != nil {
		return Balances{}, err
	}
	return f.sum(""), nil
}

func (h Happening) check() error {
	moves := h.Kind == TopUp || h.Kind == WebSpend || h.Kind == Refund
	known := moves || h.Kind == CardBound || h.Kind == CardUnbound || h.Kind == ChargeFailed
	if !happeningID.MatchString(h.ID) || !known || moves != (h.Amount > 0) || h.Amount > maxMoved {
		return ErrHappening
	}
	return nil
}

// Effect returns what h moves and does to the wallet, or why it cannot happen.
func (f Funds) Effect(h Happening) (moves []ledger.Transfer, wallet func(*Wallet), err error) {
	if f.Wallet.State == WalletClosed && (f.Balances.Due == 0 || h.Kind != TopUp && h.Kind != Refund) {
		return nil, nil, ErrState
	}
	now := f.Now
	switch h.Kind {
	case TopUp, Refund:
		if f.Balances.Cash()+int64(h.Amount) > maxHeld {
			return nil, nil, ErrHolds
		}
		back := min(int64(h.Amount), f.Balances.Due)
		moves = append(moves, f.move(h, 0, ledger.ExternalCash, ledger.Available, h.Amount))
		if back > 0 {
			moves = append(moves, f.move(h, 1, ledger.Available, ledger.Due, token.Amount(back)))
		}
		if rest := int64(h.Amount) - back; f.Wallet.State == WalletClosed && rest > 0 {
			moves = append(moves, f.payout(string(f.Wallet.ID)+"/"+h.ID, rest))
		}
		if back == f.Balances.Due {
			return moves, func(w *Wallet) { w.Settled(now) }, nil
		}
	case WebSpend:
		moves, err = f.spend(h)
		return moves, func(*Wallet) {}, err
	case CardBound, CardUnbound:
		return nil, func(w *Wallet) { w.Card = h.Kind == CardBound }, nil
	case ChargeFailed:
		return nil, func(w *Wallet) {
			if w.Allowance = 0; f.Balances.Due > 0 { // else nothing is to be paid that could let go of it
				w.restrict(HoldCharge, now)
			}
		}, nil
	}
	return moves, func(*Wallet) {}, nil
}

// spend takes what is free, and then credit. What is held for slots is not
// there: a phone may be paying with it at this moment.
func (f Funds) spend(h Happening) (moves []ledger.Transfer, err error) {
	if f.Wallet.State == WalletSuspended {
		return nil, ErrState
	}
	free := token.Amount(min(int64(h.Amount), f.Balances.Available))
	rest := h.Amount - free
	if rest > f.Credit() {
		if int64(rest) <= f.Balances.Reserve {
			return nil, ErrReserved
		}
		return nil, ledger.ErrFunds
	}
	if free > 0 {
		moves = append(moves, f.move(h, 0, ledger.Available, ledger.ExternalCash, free))
	}
	if rest > 0 {
		moves = append(moves, f.move(h, 1, ledger.Due, ledger.ExternalCash, rest))
	}
	return moves, nil
}

// move is one transfer of a happening. Its key holds the wallet: ids of events
// are the caller's.
func (f Funds) move(h Happening, n int, from, to ledger.Account, fen token.Amount) ledger.Transfer {
	purpose := map[HappeningKind]string{TopUp: "top-up", WebSpend: "web-spend", Refund: "web-refund"}[h.Kind]
	return ledger.Transfer{Purpose: purpose, Key: string(f.Wallet.ID) + "/" + h.ID, N: n, Wallet: f.Wallet.ID, From: from, To: to, Amount: fen}
}

// Fell reports whether the phone of a wallet holds more than the account would
// give it now, while it did not before: it should sync.
func Fell(before, after Funds) bool {
	t := Terms{Limit: after.Wallet.Limit, Ceiling: after.Wallet.Ceiling}
	for _, l := range before.Lots {
		if l.Live(after.Now) && after.Limit(l.Ref, t) < before.Limit(l.Ref, t) {
			return true
		}
	}
	return false
}

// Sweep does what time alone brings: it frees the reserve of slots whose time is
// over, and gives back what only phones said was paid. It returns how many slots
// changed.
func (s *Service) Sweep(ctx context.Context) (n int, err error) {
	now, err := s.cfg.Sure(ctx)
	if err != nil {
		return 0, fmt.Errorf("sweeping slots: %w", err)
	}
	released, err := s.releasable(ctx, now)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, step := range []struct {
		do     func(context.Context, time.Time) (int, error)
		before time.Time
	}{{s.cfg.Book.Release, released}, {s.cfg.Book.Refund, now.Add(-grace)}} {
		k, err := step.do(ctx, step.before)
		n, errs = n+k, append(errs, err)
	}
	done, err := s.Redo(ctx)
	if err = errors.Join(append(errs, err)...); err != nil {
		err = fmt.Errorf("sweeping slots: %w", err)
	}
	return n + done, err
}

// releasable is when tokens must have ended for their slots to be free: a day
// ago, or, when every terminal has uploaded, whatever ended before that. Terminals
// cannot have uploaded what is still to come: the clock of who heard that was wrong.
func (s *Service) releasable(ctx context.Context, now time.Time) (time.Time, error) {
	at := now.Add(-releaseAfter)
	if s.cfg.Estate == nil {
		return at, nil
	}
	uploaded, err := s.cfg.Estate.Uploaded(ctx)
	if err != nil {
		return at, errors.Join(errors.New("asking how far terminals have uploaded"), err)
	}
	if early := uploaded.Add(-s.cfg.Skew); !uploaded.IsZero() && early.After(at) && !uploaded.After(now.Add(s.cfg.Skew)) {
		return early, nil
	}
	return at, nil
}
