package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account/detect"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
)

// concluded bounds how many signals one look finds, and looks how many looks one call
// takes: behind signals that cannot be acted on there are others.
const (
	concluded = 100
	looks     = 10
)

// conclude acts on what detection found. It is no error of the upload that
// brought it when that fails: [Service.Redo] acts on what is left.
func (s *Service) conclude(ctx context.Context) {
	if s.cfg.Book != nil {
		_, _ = s.Redo(context.WithoutCancel(ctx))
	}
}

// Redo does what follows from signals and was not done yet, because a process
// ended or something it needed was down. It returns how many it dealt with.
// Tokens are suspended first: of what a crash leaves undone in between, the
// wallet's state comes last.
func (s *Service) Redo(ctx context.Context) (n int, err error) { return s.redo(ctx, "") }

// redo is Redo of which only what fails of one wallet is an error or, for "", of any: what
// cannot be done about others must not keep its phone from being answered.
func (s *Service) redo(ctx context.Context, of token.WalletID) (n int, err error) {
	var errs []error
	var last Finding
	for range looks {
		pending, err := s.cfg.Book.Pending(ctx, last, concluded)
		if err != nil {
			return n, errors.Join(append(errs, fmt.Errorf("reading signals: %w", err))...)
		}
		failed := 0
		for _, f := range pending {
			last = f
			if err := fault.Safely(func() error { return s.follow(ctx, f) }); err != nil {
				if failed++; of == "" || f.Wallet == of {
					errs = append(errs, fmt.Errorf("acting on a signal: %w", err))
				}
				continue
			}
			n++
		}
		if len(pending) < concluded || failed == 0 {
			break
		}
	}
	return n, errors.Join(errs...)
}

// follow does what follows from one signal.
func (s *Service) follow(ctx context.Context, f Finding) error {
	now, err := s.heldFrom(ctx, f.Wallet)
	if err != nil {
		return err
	}
	switch {
	case f.Kind == detect.WrongPIN:
		return s.followPIN(ctx, f)
	case f.Kind == detect.PhoneOnly:
		review, err := s.reviewed(ctx, f)
		if err != nil {
			return err
		}
		return s.cfg.Book.Conclude(ctx, f, func(*Wallet) {}, review)
	case f.Severity() >= 3:
		if err := s.suspendTokens(ctx, f.Wallet, "", token.ByRisk); err != nil {
			return err
		}
		if err := s.distrust(ctx, f); err != nil {
			return err
		}
		return s.holdWallet(ctx, f, "suspended for "+string(HoldRisk), func(w *Wallet) { w.suspend(HoldRisk, now) }, true)
	case f.Severity() == 2:
		if err := s.suspendTokens(ctx, f.Wallet, f.Ref, token.ByRisk); err != nil {
			return err
		}
		return s.holdWallet(ctx, f, "restricted for "+string(HoldRisk), func(w *Wallet) { w.restrict(HoldRisk, now) }, true)
	}
	return s.cfg.Book.Conclude(ctx, f, func(*Wallet) {}, f.Kind.AgainstTerminal())
}

// holdWallet changes a wallet for a signal, and records that first.
func (s *Service) holdWallet(ctx context.Context, f Finding, what string, change func(*Wallet), review bool) error {
	if err := s.byItself(ctx, access.WalletManage, string(f.Wallet), what); err != nil {
		return err
	}
	return s.cfg.Book.Conclude(ctx, f, change, review)
}

// detection is who the record names for what no caller asked for.
const detection = "service:detection"

// byItself records what the service is about to do without being asked.
func (s *Service) byItself(ctx context.Context, act access.Action, object, what string) error {
	return s.cfg.Gate.Recorder.Record(ctx, audit.Entry{Caller: access.Caller{ID: detection}, Action: act, Object: object, Outcome: audit.Allowed,
		Reason: what, Request: audit.RequestID(ctx)})
}

// distrust lowers the trust in the device behind a signal.
func (s *Service) distrust(ctx context.Context, f Finding) error {
	if s.cfg.Devices == nil {
		return nil
	}
	all, err := s.cfg.Book.Tokens(ctx, f.Wallet)
	if err != nil {
		return err
	}
	for _, b := range all {
		if b.Ref != f.Ref {
			continue
		}
		if err := s.byItself(ctx, access.DeviceEnrol, string(b.Device), "tier lowered"); err != nil {
			return err
		}
		if err := s.cfg.Devices.Distrust(ctx, f.Wallet, b.Device); err != nil {
			return fmt.Errorf("lowering a device's tier: %w", err)
		}
	}
	return nil
}

// Of taps that only the phone tells of, every third within thirty days is looked
// into: one can be a terminal that was lost, but terminals are not lost often.
const (
	phoneOnly     = 3
	phoneOnlyDays = 30 * 24 * time.Hour
	remembered    = 1000
)

// reviewed reports whether a tap that only the phone tells of opens a case.
func (s *Service) reviewed(ctx context.Context, f Finding) (bool, error) {
	all, err := s.cfg.Book.Signals(ctx, f.Wallet, remembered)
	if err != nil {
		return false, err
	}
	n := 0
	for _, o := range all {
		earlier := o.At.Before(f.At) || o.At.Equal(f.At) && o.ID <= f.ID
		if o.Kind == detect.PhoneOnly && earlier && f.At.Sub(o.At) < phoneOnlyDays {
			n++
		}
	}
	return n > 0 && n%phoneOnly == 0, nil
}

// followPIN counts wrong PINs: those of taps together with those entered online.
func (s *Service) followPIN(ctx context.Context, f Finding) error {
	verdict, err := s.pinVerdict(ctx, f.Wallet)
	if err != nil {
		return err
	}
	now, err := s.heldFrom(ctx, f.Wallet)
	if err != nil {
		return err
	}
	switch verdict {
	case WalletSuspended:
		if err := s.suspendTokens(ctx, f.Wallet, "", token.ByPINLock); err != nil {
			return err
		}
		return s.holdWallet(ctx, f, "suspended for "+string(HoldPIN), func(w *Wallet) { w.suspend(HoldPIN, now) }, false)
	case WalletRestricted:
		return s.holdWallet(ctx, f, "restricted for "+string(HoldPIN), func(w *Wallet) { w.restrict(HoldPIN, now) }, false)
	}
	return s.cfg.Book.Conclude(ctx, f, func(*Wallet) {}, false)
}

func (s *Service) pinVerdict(ctx context.Context, w token.WalletID) (WalletState, error) {
	var taps []WrongTap
	success, online, err := s.triedOnline(ctx, w)
	if err == nil {
		taps, err = s.cfg.Book.WrongTaps(ctx, w, success)
	}
	if err != nil {
		return "", fmt.Errorf("counting wrong PINs: %w", err)
	}
	return pinVerdict(taps, online), nil
}

// heldFrom is the moment from which a wallet is held back: one that has come by every
// clock, and none before the last right PIN, whatever clock said when that was. The right
// PIN that frees the wallet has to come after it. See docs/decisions/165.
func (s *Service) heldFrom(ctx context.Context, w token.WalletID) (time.Time, error) {
	at, err := s.surely(ctx)
	if err != nil {
		return at, err
	}
	success, _, err := s.triedOnline(ctx, w)
	if err != nil {
		return at, fmt.Errorf("asking for the last right PIN: %w", err)
	}
	if success.After(at) {
		return success, nil
	}
	return at, nil
}

// surely is the moment that has come by every clock there is.
func (s *Service) surely(ctx context.Context) (time.Time, error) {
	at, err := s.cfg.Sure(ctx)
	if err != nil {
		return at, fmt.Errorf("asking a second clock: %w", err)
	}
	return at, nil
}

// suspendTokens holds back a token of a wallet, or, for "", all that may still
// be used somewhere. The deny list follows from that by itself.
func (s *Service) suspendTokens(ctx context.Context, w token.WalletID, only token.Ref, by token.Suspender) error {
	all, err := s.cfg.Book.Tokens(ctx, w)
	if err != nil {
		return err
	}
	now, err := s.surely(ctx) // a clock that is ahead must not pass over a token that still pays
	if err != nil {
		return err
	}
	if only != "" {
		all = slices.DeleteFunc(all, func(b Binding) bool { return b.Ref != only })
	}
	pays := make([]bool, len(all))
	err = together(len(all), func(i int) error { pays[i] = s.mayPay(ctx, all[i], now); return nil })
	if err != nil {
		return err
	}
	for i, b := range all {
		if !pays[i] {
			continue
		}
		if err := s.suspendToken(ctx, b.Ref, by, now); err != nil {
			return fmt.Errorf("suspending a token: %w", err)
		}
	}
	return nil
}

// mayPay reports whether a token may still be used somewhere. Its window may have become
// longer since it was bound. One that cannot be read may.
func (s *Service) mayPay(ctx context.Context, b Binding, now time.Time) bool {
	if !now.After(b.NotAfter.Add(s.cfg.Skew)) {
		return true
	}
	t, err := s.cfg.Tokens.Token(ctx, b.Ref)
	return err != nil || !now.After(t.NotAfter.Add(s.cfg.Skew))
}

// suspendToken holds back a token and those that follow it by renewal, the first
// one first: one that is held back gets no other successor. A token that
// changed under every try is an error, and whoever asked tries again.
func (s *Service) suspendToken(ctx context.Context, ref token.Ref, by token.Suspender, at time.Time) error {
	for ref != "" {
		t, err := s.suspendOne(ctx, ref, by, at)
		if err != nil {
			return err
		}
		ref = t.RenewedBy
	}
	return nil
}

// suspendOne returns the token as it then is.
func (s *Service) suspendOne(ctx context.Context, ref token.Ref, by token.Suspender, at time.Time) (t token.Token, err error) {
	const tries = 3
	for range tries {
		if t, err = s.cfg.Tokens.Token(ctx, ref); err != nil || t.Holds(by) || !t.May(token.Suspend) {
			return t, err
		}
		if err = s.byItself(ctx, access.TokenManage, string(ref), "suspended by "+string(by)); err != nil {
			return t, err
		}
		c := token.Change{Ref: ref, From: t.State, Revision: t.Revision, Verb: token.Suspend, At: at, By: by}
		if t, err = s.cfg.Tokens.Change(ctx, c, "account", access.Attempt{}); fault.KindOf(err) != fault.TokenState {
			return t, err
		}
	}
	return t, err
}
