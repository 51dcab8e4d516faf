package pin

import (
	"context"
	"crypto/subtle"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Verify checks a PIN, sealed as a compact JWE to the HSM, and returns its epoch. The
// right one forgets all wrong tries; with a clean sync after it, a restricted wallet is
// free again.
//
// Whatever does not hold is [wallet.ErrRefused], after the same work: a wrong PIN, a
// wallet without one or of somebody else, a wallet without tries left.
func (s *Service) Verify(ctx context.Context, c access.Caller, w token.WalletID, sealed string) (epoch uint32, err error) {
	if err := s.cfg.Gate.Check(ctx, c, access.PINManage, string(w)); err != nil {
		return 0, err
	}
	r, err := s.verify(ctx, c, w, sealed)
	return r.Epoch, err
}

// verify is [Service.Verify] behind the gate, and returns the record.
func (s *Service) verify(ctx context.Context, c access.Caller, w token.WalletID, sealed string) (Record, error) {
	p, r, reason, err := s.question(ctx, c, w, sealed)
	defer p.Wipe()
	if err != nil {
		return Record{}, err
	}
	counted := r.Wallet // empty when there is nothing to try: the work is the same
	if reason != "" {
		counted = ""
	}
	offline, err := s.cfg.Accounts.WrongWindows(ctx, w, r.LastSuccess)
	if err != nil {
		return Record{}, err
	}
	ok, err := s.cfg.Tries.Take(ctx, counted, MaxTries-offline)
	if err != nil {
		return Record{}, err
	}
	good, err := s.matches(ctx, p, r)
	switch {
	case err != nil:
		return Record{}, s.giveBack(ctx, counted, ok, err)
	case reason != "":
	case !ok:
		reason = "no-tries"
	case !good:
		reason = "wrong-pin"
	}
	if reason != "" {
		return Record{}, s.refuse(ctx, c, counted, w, reason)
	}
	now, err := s.cfg.Sure(ctx)
	if err == nil {
		err = s.cfg.Tries.Clear(ctx, w, now)
	}
	if err != nil { // a right PIN is no wrong one, though nobody could note it
		return Record{}, s.giveBack(ctx, counted, ok, err)
	}
	return r, nil
}

// refuse brings a wrong try to where it has consequences, and refuses.
func (s *Service) refuse(ctx context.Context, c access.Caller, counted, w token.WalletID, reason string) error {
	if counted != "" {
		if err := s.cfg.Accounts.PINTried(ctx, counted); err != nil {
			return err
		}
	}
	return s.cfg.Gate.Refuse(ctx, c, access.PINManage, string(w), reason, wallet.ErrRefused)
}

// giveBack returns a try that no wrong PIN was judged for. When that fails the try is
// lost: one less for the holder is better than one more for a thief.
func (s *Service) giveBack(ctx context.Context, w token.WalletID, taken bool, why error) error {
	if taken {
		_ = s.cfg.Tries.GiveBack(context.WithoutCancel(ctx), w)
	}
	return why
}

// question opens what was sealed and finds what to compare it with. A reason
// says that there is nothing to compare; the PIN and the record are stand-ins
// then, so that the caller goes on to do the same work.
func (s *Service) question(ctx context.Context, c access.Caller, w token.WalletID, sealed string) (p mask.PIN, r Record, reason string, err error) {
	stand := Record{Wallet: w, Epoch: 1}
	p, reason, err = s.open(ctx, w, sealed)
	if err != nil {
		return p, stand, "", err
	}
	if openErr := s.cfg.Accounts.Open(ctx, c, w); openErr != nil {
		if fault.KindOf(openErr) != fault.Refused {
			return p, stand, "", openErr
		}
		reason = "wallet"
	}
	r, err = s.cfg.Store.Record(ctx, w)
	if fault.KindOf(err) == fault.Refused && err != nil {
		r, err = stand, nil
		if reason == "" {
			reason = "no-pin"
		}
	}
	return p, r, reason, err
}

// open opens a sealed PIN; reason says that it is none for this wallet.
func (s *Service) open(ctx context.Context, w token.WalletID, sealed string) (p mask.PIN, reason string, err error) {
	text, err := s.cfg.Opener.Plain(ctx, sealed)
	defer clear(text)
	switch {
	case err != nil && fault.KindOf(err) == fault.Intake:
		return mask.PIN{}, "sealed", nil
	case err != nil:
		return mask.PIN{}, "", err
	}
	if p, err = payload.ParsePINText(text, w); err != nil {
		return mask.PIN{}, "sealed", nil
	}
	return p, "", nil
}

// matches stretches the PIN and asks the HSM whether it is the one.
func (s *Service) matches(ctx context.Context, p mask.PIN, r Record) (bool, error) {
	secret, err := s.stretch(ctx, p, r.Wallet, r.Epoch)
	defer secret.Wipe()
	if err != nil {
		return false, err
	}
	v, err := s.verifier(ctx, r.Wallet, &secret)
	return subtle.ConstantTimeCompare(v[:], r.Verifier[:]) == 1, err
}
