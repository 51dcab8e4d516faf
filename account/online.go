package account

import (
	"context"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
)

// PINTried does what follows from a wrong PIN that was entered online: it shares
// its count with those that taps show. It is for services that have passed a gate
// of their own, and may be repeated.
func (s *Service) PINTried(ctx context.Context, id token.WalletID) error {
	verdict, err := s.pinVerdict(ctx, id)
	if err != nil {
		return err
	}
	now, err := s.heldFrom(ctx, id)
	if err != nil {
		return err
	}
	switch verdict {
	case WalletSuspended:
		if err := s.suspendTokens(ctx, id, "", token.ByPINLock); err != nil {
			return err
		}
		return s.holdTried(ctx, id, "suspended for "+string(HoldPIN), func(w *Wallet) { w.suspend(HoldPIN, now) })
	case WalletRestricted:
		return s.holdTried(ctx, id, "restricted for "+string(HoldPIN), func(w *Wallet) { w.restrict(HoldPIN, now) })
	}
	return nil
}

// holdTried changes a wallet, and records that first.
func (s *Service) holdTried(ctx context.Context, id token.WalletID, what string, change func(*Wallet)) error {
	if err := s.byItself(ctx, access.WalletManage, string(id), what); err != nil {
		return err
	}
	_, err := s.cfg.Book.Change(ctx, id, "account", access.Attempt{}, change)
	return err
}
