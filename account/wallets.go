package account

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// errAgreement reports agreements that no wallet can have.
var errAgreement = fault.New(fault.Malformed, "an allowance is for holders who are known by name, and up to 5000 fen")

// Opening says what a new wallet shall be.
type Opening struct {
	Requestor token.Requestor // "": the caller's own
	RealName  bool            // its holder is known by name, and can owe
	Allowance token.Amount    // see [Wallet.Allowance]; up to 5000 fen, of holders who are known by name
	Quota     token.Amount    // see [Wallet.Quota]; 0: 20000 fen
	Attempt   access.Attempt
}

// Open opens a wallet, and its account with nothing in it. Asking again with the
// same attempt gives the same wallet.
func (s *Service) Open(ctx context.Context, c access.Caller, o Opening) (Wallet, error) {
	id, err := token.DrawWalletID(s.cfg.Rand)
	if err != nil {
		return Wallet{}, err
	}
	if err := s.cfg.Gate.Check(ctx, c, access.WalletManage, string(id)); err != nil {
		return Wallet{}, err
	}
	if o.Requestor == "" {
		o.Requestor = token.Requestor(c.Requestor)
	}
	if c.Requestor != "" && string(o.Requestor) != c.Requestor {
		return Wallet{}, s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(id), "other-requestor", access.ErrDenied)
	}
	if _, err := token.ParseRequestor(string(o.Requestor)); err != nil {
		return Wallet{}, err
	}
	if o.Allowance > 0 && !o.RealName || o.Allowance > maxAllowance {
		return Wallet{}, errAgreement
	}
	if o.Quota == 0 {
		o.Quota = defaultQuota
	}
	now := s.cfg.Now()
	return s.cfg.Book.Open(ctx, c.ID, o.Attempt, Wallet{ID: id, Requestor: o.Requestor, Client: c.ID, State: WalletActive,
		RealName: o.RealName, Allowance: o.Allowance, Quota: o.Quota, OpenedAt: now, ChangedAt: now})
}

// Get returns a wallet.
func (s *Service) Get(ctx context.Context, c access.Caller, id token.WalletID) (Wallet, error) {
	if err := s.cfg.Gate.Allow(ctx, c, access.WalletRead, string(id)); err != nil {
		return Wallet{}, err
	}
	return s.own(ctx, c, access.WalletRead, id)
}

// own returns a wallet that c may see. One of another requestor does not exist
// for c.
func (s *Service) own(ctx context.Context, c access.Caller, a access.Action, id token.WalletID) (Wallet, error) {
	w, err := s.cfg.Book.Wallet(ctx, id)
	if err != nil {
		return Wallet{}, err
	}
	if c.Requestor != "" && c.Requestor != string(w.Requestor) || c.Role == access.Issuer && c.Requestor == "" {
		return Wallet{}, s.cfg.Gate.Refuse(ctx, c, a, string(id), "foreign", ErrNoWallet)
	}
	return w, nil
}

// Bind gives a token to a wallet, for good. It has to be new: slots that were
// handed out before would have no money behind them. So has the device to be one of the
// wallet ([ErrDevice]): no other could ever sync it. Binding again is harmless.
func (s *Service) Bind(ctx context.Context, c access.Caller, id token.WalletID, ref token.Ref, device token.DeviceID) error {
	if err := s.cfg.Gate.Check(ctx, c, access.WalletManage, string(id)); err != nil {
		return err
	}
	w, err := s.own(ctx, c, access.WalletManage, id)
	if err != nil {
		return err
	}
	if !device.Valid() {
		return fmt.Errorf("%w: no device id", token.ErrMalformed)
	}
	t, err := s.cfg.Tokens.Token(ctx, ref)
	if err != nil {
		return err
	}
	bound, err := s.cfg.Book.Bound(ctx, ref)
	if err != nil {
		return err
	}
	switch {
	case t.Requestor != w.Requestor:
		return s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(id), "foreign-token", errForeign)
	case w.State == WalletClosed || w.State == WalletSuspended:
		return s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(id), "state", ErrState)
	case bound[ref] == "" && t.CtrFirst != t.CtrNext:
		return s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(id), "used-token", ErrBound)
	}
	if bound[ref] == "" && s.cfg.Devices != nil {
		has, err := s.cfg.Devices.Enrolled(ctx, id, device)
		if err != nil {
			return err
		}
		if !has {
			return s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(id), "device", ErrDevice)
		}
	}
	return s.cfg.Book.Bind(ctx, Binding{id, ref, device, t.NotAfter})
}

// errForeign is what a caller hears of another requestor's token.
var errForeign = fault.New(fault.TokenUnknown, "no such token")

// Restore takes a wallet out of suspension or restriction. It is the operator's
// to do, after the device was attested anew or the holder identified. Its tokens
// stay as they are: it needs new ones.
func (s *Service) Restore(ctx context.Context, c access.Caller, id token.WalletID, reason string, a access.Attempt) (Wallet, error) {
	if err := s.cfg.Gate.CheckBecause(ctx, c, access.WalletManage, string(id), reason); err != nil {
		return Wallet{}, err
	}
	if c.Role != access.Operator {
		return Wallet{}, s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(id), "role", access.ErrDenied)
	}
	w, err := s.own(ctx, c, access.WalletManage, id)
	if err != nil {
		return Wallet{}, err
	}
	if w.State == WalletClosed {
		return Wallet{}, ErrState
	}
	now := s.cfg.Now()
	return s.cfg.Book.Change(ctx, id, c.ID, a, func(w *Wallet) {
		if w.State == WalletRestricted || w.State == WalletSuspended {
			w.free(now)
		}
	})
}

// Close ends a wallet. What is free is paid out; while anything is held, owed or
// on its way it is refused. A wallet that is closed stays closed.
func (s *Service) Close(ctx context.Context, c access.Caller, id token.WalletID, a access.Attempt) (Wallet, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.WalletManage, string(id)); err != nil {
		return Wallet{}, err
	}
	if _, err := s.own(ctx, c, access.WalletManage, id); err != nil {
		return Wallet{}, err
	}
	return s.cfg.Book.Close(ctx, id, c.ID, a)
}
