package account

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// Balances returns what a wallet has, is held and owes.
func (s *Service) Balances(ctx context.Context, c access.Caller, id token.WalletID) (Balances, error) {
	if _, err := s.Get(ctx, c, id); err != nil {
		return Balances{}, err
	}
	f, err := s.cfg.Book.Funds(ctx, id)
	if err != nil {
		return Balances{}, err
	}
	b := f.sum("")
	for _, l := range f.Lots {
		if l.Live(f.Now) {
			b.Remaining, b.Count = b.Remaining+l.Cap(), b.Count+1
		}
	}
	return b, nil
}

// TapView is one record of a slot as its wallet sees it.
type TapView struct {
	ID       string
	Ref      token.Ref
	Ctr      uint16
	At       time.Time
	Amount   token.Amount
	Terminal [6]byte
	Outcome  Outcome
	Status   string // MATCHED, TERM_ONLY, PHONE_ONLY, BURNED; "" for what is not posted
	Slot     SlotState
}

// Status says who vouches for a record.
func (e Entry) Status() string {
	switch s := e.Sources.known(); {
	case e.Outcome != Posted:
		return ""
	case s.Served() && s&ByPhone != 0:
		return "MATCHED"
	case s.Served():
		return "TERM_ONLY"
	case s&ByFailure != 0:
		return "BURNED"
	}
	return "PHONE_ONLY"
}

// listed bounds the lists of a wallet.
const listed = 100

// Taps lists the last taps of a wallet, newest first.
func (s *Service) Taps(ctx context.Context, c access.Caller, id token.WalletID) ([]TapView, error) {
	if _, err := s.Get(ctx, c, id); err != nil {
		return nil, err
	}
	return s.cfg.Book.Taps(ctx, id, listed)
}

// Risk is what speaks against a wallet.
type Risk struct {
	Wallet  Wallet
	Score   int // of the last 30 days: severities squared
	Wrong   int // PIN entries that were wrong since the last right one online
	Signals []Finding
}

// Risk says what speaks against a wallet. Holders are not told.
func (s *Service) Risk(ctx context.Context, c access.Caller, id token.WalletID) (r Risk, err error) {
	if r.Wallet, err = s.Get(ctx, c, id); err != nil {
		return r, err
	}
	if r.Signals, err = s.cfg.Book.Signals(ctx, id, listed); err != nil {
		return r, err
	}
	for _, f := range r.Signals {
		if s.cfg.Now().Sub(f.At) < claimable {
			r.Score += f.Severity() * f.Severity()
		}
	}
	success, online, err := s.triedOnline(ctx, id)
	if err != nil {
		return r, err
	}
	n, err := s.WrongWindows(ctx, id, success)
	r.Wrong = n + online
	return r, err
}

// Cases lists cases, newest first, after the one with the id before.
func (s *Service) Cases(ctx context.Context, c access.Caller, wallet token.WalletID, before string, limit int) ([]Case, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.CaseRead, "cases"); err != nil {
		return nil, err
	}
	if c.Role == access.Issuer && c.Requestor == "" {
		return nil, s.cfg.Gate.Refuse(ctx, c, access.CaseRead, "cases", "no-requestor", access.ErrDenied)
	}
	return s.cfg.Book.Cases(ctx, CaseQuery{Wallet: wallet, Requestor: token.Requestor(c.Requestor), Before: before, Limit: limit})
}
