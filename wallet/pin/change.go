package pin

import (
	"context"
	"fmt"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/mask"
)

// Choice is a PIN that a holder has chosen.
type Choice struct {
	PIN     string   // sealed to the HSM: a compact JWE
	Holder  []string // numbers that others know of the holder; they are looked at and not kept
	Attempt access.Attempt
}

// Set gives a wallet its first PIN, or the next one after an operator's
// [Service.AllowReset], and returns its epoch. A PIN that is easily guessed is
// [ErrWeak]; a wallet that has one already gets [wallet.ErrRefused].
func (s *Service) Set(ctx context.Context, c access.Caller, w token.WalletID, chosen Choice) (epoch uint32, err error) {
	if err := s.cfg.Gate.Check(ctx, c, access.PINManage, string(w)); err != nil {
		return 0, err
	}
	p, old, reason, err := s.question(ctx, c, w, chosen.PIN)
	defer p.Wipe()
	if err != nil {
		return 0, err
	}
	now, err := s.cfg.Sure(ctx)
	if err != nil {
		return 0, err
	}
	next := Record{Wallet: w, Epoch: 1, LastSuccess: now}
	if reason == "" { // there is one already
		next.Epoch, next.Revoking = old.Epoch+1, true
	}
	done, err := s.cfg.Store.Done(ctx, c.ID, chosen.Attempt)
	switch {
	case err != nil:
		return 0, err
	case done:
		return old.Epoch, s.finish(ctx, w)
	case reason == "" && !old.Resettable:
		reason = "pin-exists"
	case reason == "no-pin":
		reason = ""
	}
	return s.put(ctx, c, next, p, chosen, reason)
}

// Change replaces the PIN, given the old one, sealed too, and returns the new epoch. With
// the old PIN go the bundles that were masked with it: the wallet's tokens are deleted,
// so no key is ever masked under two PINs, and those that follow them.
func (s *Service) Change(ctx context.Context, c access.Caller, w token.WalletID, old string, chosen Choice) (epoch uint32, err error) {
	if err := s.cfg.Gate.Check(ctx, c, access.PINManage, string(w)); err != nil {
		return 0, err
	}
	if done, err := s.cfg.Store.Done(ctx, c.ID, chosen.Attempt); err != nil || done {
		if err == nil {
			epoch, err = s.Epoch(ctx, w)
		}
		return epoch, err
	}
	r, err := s.verify(ctx, c, w, old)
	if err != nil {
		return 0, err
	}
	p, reason, err := s.open(ctx, w, chosen.PIN)
	defer p.Wipe()
	if err != nil {
		return 0, err
	}
	now, err := s.cfg.Sure(ctx)
	if err != nil {
		return 0, err
	}
	next := Record{Wallet: w, Epoch: r.Epoch + 1, LastSuccess: now, Revoking: true}
	return s.put(ctx, c, next, p, chosen, reason)
}

// protect fills in what is kept of p: S, sealed, and V.
func (s *Service) protect(ctx context.Context, r *Record, p mask.PIN) error {
	secret, err := s.stretch(ctx, p, r.Wallet, r.Epoch)
	defer secret.Wipe()
	if err != nil {
		return err
	}
	if r.Verifier, err = s.verifier(ctx, r.Wallet, &secret); err != nil {
		return err
	}
	r.Secret, err = s.cfg.Keys.Seal(ctx, sealKey, secret[:], place(r.Wallet, r.Epoch))
	return err
}

// put stores the record of a new PIN, or refuses: for the reason that its caller has
// found, or because p is weak. It stretches also when it will refuse, so that the time
// it takes tells nothing.
func (s *Service) put(ctx context.Context, c access.Caller, r Record, p mask.PIN, chosen Choice, reason string) (uint32, error) {
	if err := s.protect(ctx, &r, p); err != nil {
		return 0, err
	}
	if reason != "" {
		return 0, s.cfg.Gate.Refuse(ctx, c, access.PINManage, string(r.Wallet), reason, wallet.ErrRefused)
	}
	if weak := mask.Weak(p, chosen.Holder...); weak != mask.Strong {
		return 0, s.cfg.Gate.Refuse(ctx, c, access.PINManage, string(r.Wallet), "weak-pin", ErrWeak)
	}
	if _, err := s.cfg.Store.Put(ctx, c.ID, chosen.Attempt, r); err != nil {
		if fault.KindOf(err) == fault.Refused {
			err = s.cfg.Gate.Refuse(ctx, c, access.PINManage, string(r.Wallet), "pin-moved", wallet.ErrRefused)
		}
		return 0, err
	}
	return r.Epoch, s.finish(ctx, r.Wallet)
}

// AllowReset lets a holder who forgot the PIN set a new one. It is an
// operator's word that the holder is the holder.
func (s *Service) AllowReset(ctx context.Context, c access.Caller, w token.WalletID) error {
	if err := s.cfg.Gate.Check(ctx, c, access.WalletManage, string(w)); err != nil {
		return err
	}
	if c.Role != access.Operator {
		return s.cfg.Gate.Refuse(ctx, c, access.WalletManage, string(w), "role", wallet.ErrRefused)
	}
	return s.cfg.Store.AllowReset(ctx, w)
}

// finish deletes what the PIN before was good for. A change that was cut off
// here is finished by whoever asks next.
func (s *Service) finish(ctx context.Context, w token.WalletID) error {
	r, err := s.cfg.Store.Record(ctx, w)
	if err != nil || !r.Revoking {
		return err
	}
	refs, err := s.cfg.Accounts.Tokens(ctx, w)
	if err != nil {
		return err
	}
	bound := make(map[token.Ref]bool, len(refs))
	for _, ref := range refs {
		bound[ref] = true
	}
	var failed error // one that cannot be deleted keeps no other one alive
	for _, ref := range refs {
		if err := s.deleteFrom(ctx, w, ref, bound); err != nil && failed == nil {
			failed = fmt.Errorf("deleting a token of the PIN before: %w", err)
		}
	}
	if failed != nil {
		return failed
	}
	return s.cfg.Store.Revoked(ctx, w, r.Epoch)
}

// deleteFrom ends a token and those that follow it by renewal, as far as no other
// wallet has them, and up to one of those that are bound to this one: that has its own
// turn, or of a token that is renewed each day all would be read for each. A successor that was fetched ahead and is bound to nobody would
// otherwise be held back for the PIN before, with nobody to let it go.
func (s *Service) deleteFrom(ctx context.Context, w token.WalletID, ref token.Ref, bound map[token.Ref]bool) error {
	next, err := s.delete(ctx, w, ref)
	for err == nil && next != "" && !bound[next] {
		of, _, holderErr := s.cfg.Accounts.Holder(ctx, next)
		if holderErr == nil && of != w {
			return nil
		}
		if holderErr != nil && fault.KindOf(holderErr) != fault.Refused {
			return holderErr
		}
		next, err = s.delete(ctx, w, next)
	}
	return err
}

// delete ends a token that is not over yet, and returns the one that follows it:
// one that is deleted gets no other successor. It is recorded before it is deleted.
func (s *Service) delete(ctx context.Context, w token.WalletID, ref token.Ref) (next token.Ref, err error) {
	recorded := false
	for try := 0; ; try++ {
		t, err := s.cfg.Tokens.Token(ctx, ref)
		if err != nil {
			return "", err
		}
		if t.State == token.Deleted || t.State == token.Expired {
			return t.RenewedBy, nil
		}
		if err := s.announce(ctx, w, ref, recorded); err != nil {
			return "", err
		}
		recorded = true
		t, err = s.cfg.Tokens.Move(ctx, ref, t.State, token.Delete, s.cfg.Now())
		if err == nil || fault.KindOf(err) != fault.TokenState || try > 3 {
			return t.RenewedBy, err
		}
	}
}

// byItself is who the record names for what follows from a change of a PIN, which
// another caller may finish than the one that began it.
const byItself = "service:pin"

// announce records, once, that a token is about to be deleted.
func (s *Service) announce(ctx context.Context, w token.WalletID, ref token.Ref, recorded bool) error {
	if recorded {
		return nil
	}
	return s.cfg.Gate.Recorder.Record(ctx, audit.Entry{Caller: access.Caller{ID: byItself}, Action: access.TokenManage, Object: string(ref),
		Outcome: audit.Allowed, Reason: "deleted with the PIN of " + string(w), Request: audit.RequestID(ctx)})
}

// Epoch is the epoch of a wallet's PIN, when nothing of the one before is left;
// [wallet.ErrRefused] when it has none.
func (s *Service) Epoch(ctx context.Context, w token.WalletID) (uint32, error) {
	if err := s.finish(ctx, w); err != nil {
		return 0, err
	}
	r, err := s.cfg.Store.Record(ctx, w)
	return r.Epoch, err
}

// Lend unseals S of a wallet's PIN of one epoch and lends it to use; it is wiped
// after.
func (s *Service) Lend(ctx context.Context, w token.WalletID, epoch uint32, use func(*mask.Secret) error) error {
	r, err := s.cfg.Store.Record(ctx, w)
	if err != nil {
		return err
	}
	if r.Epoch != epoch {
		return wallet.ErrRefused
	}
	return s.cfg.Keys.UnsealSecret(ctx, sealKey, r.Secret, place(w, epoch), func(b []byte) error {
		return use((*mask.Secret)(b))
	})
}
