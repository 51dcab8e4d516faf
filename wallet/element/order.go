package element

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element/message"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// turns is how often a script is made again because another one took its number.
const turns = 8

// Order is what an element's wallet wants of it. Limits are not ordered: they
// follow from receipts.
type Order struct {
	Verb    message.Verb // Issue, Unblock or Erase
	Ref     token.Ref    // of an issue: a token that is bound to the element
	PIN     string       // a compact JWE to the HSM, as wallets' PINs are; the first issue needs one, an erasure has none
	Attempt access.Attempt
}

// Order makes a script, once per attempt, and returns the element with the script's
// number; a token is issued to an element once. The next courier takes the script
// along. What cannot be ordered is [wallet.ErrRefused].
func (s *Service) Order(ctx context.Context, c access.Caller, id token.DeviceID, o Order) (Element, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.ElementProvide, string(id)); err != nil {
		return Element{}, err
	}
	e, err := s.own(ctx, c, id)
	if err != nil {
		return Element{}, err
	}
	cause := fmt.Sprintf("order|%d|%s|%s", o.Verb, c.ID, o.Attempt.Key)
	var t token.Token
	switch {
	case o.Verb == message.Issue:
		cause = "issue|" + string(o.Ref)
		var reason string
		if t, reason, err = s.issuable(ctx, e, o.Ref); err != nil {
			return Element{}, err
		}
		if reason != "" {
			return Element{}, s.refuse(ctx, c, id, reason)
		}
	case o.Verb != message.Unblock && o.Verb != message.Erase, o.Attempt.Key == "":
		return Element{}, s.refuse(ctx, c, id, "verb")
	case e.Ref == "":
		return Element{}, s.refuse(ctx, c, id, "not-issued")
	}
	pin, has, reason, err := s.pin(ctx, e, o.PIN)
	defer pin.Wipe()
	if err != nil {
		return Element{}, err
	}
	if reason != "" || o.Verb == message.Issue && !has && e.Ref == "" || o.Verb == message.Erase && has {
		return Element{}, s.refuse(ctx, c, id, "pin")
	}
	err = s.put(ctx, id, cause, func(e Element, m message.Script) (Script, error) {
		switch o.Verb {
		case message.Issue:
			return s.issue(ctx, e, m, t, pin, has)
		case message.Unblock:
			return s.unblock(ctx, e, m, pin, has)
		}
		return s.mac(ctx, e, m)
	}, o.Verb, has)
	switch {
	case errors.Is(err, errErased) && o.Verb != message.Erase:
		return Element{}, s.refuse(ctx, c, id, "erased")
	case err != nil && !errors.Is(err, errErased): // asked for twice, it is erased once
		return Element{}, err
	}
	return s.cfg.Store.Element(ctx, id)
}

// put makes the element's next script, unless there is one for its cause. Making
// one has no effect until it is stored, so one that came too late is made again.
//
// Behind one that erases, nothing but an issue that has a PIN is made ([errErased]): an
// element without a token and a PIN obeys no other, and would stand before it for good.
func (s *Service) put(ctx context.Context, id token.DeviceID, cause string, build func(Element, message.Script) (Script, error), v message.Verb, pin bool) error {
	for range turns {
		e, err := s.cfg.Store.Element(ctx, id)
		if err != nil {
			return err
		}
		erased, err := s.erased(ctx, e)
		if err != nil {
			return err
		}
		if erased && (v != message.Issue || !pin) {
			if made, err := s.cfg.Store.Made(ctx, id, cause); err != nil || made { // before the erasure, and is asked for again
				return err
			}
			return errErased
		}
		made, err := build(e, message.Script{Verb: v, Serial: e.Serial, Seq: e.Seq + 1})
		if err != nil {
			return err
		}
		made.Seq, made.Cause, made.Verb, made.At = e.Seq+1, cause, v, s.cfg.Now()
		if done, err := s.cfg.Store.Put(ctx, id, made); err != nil || done {
			return err
		}
	}
	return errBusy
}

// erased reports whether the last script that was made for e erases it. Where that was lost,
// e has said so.
func (s *Service) erased(ctx context.Context, e Element) (bool, error) {
	last, found, err := s.cfg.Store.Script(ctx, e.ID, e.Seq)
	return last.Verb == message.Erase || !found && e.State == Erased, err
}

var (
	errBusy   = fault.New(fault.Overloaded, "too many scripts are made for this element at once")
	errErased = errors.New("element: it was told to forget what it holds")
)

func (s *Service) refuse(ctx context.Context, c access.Caller, id token.DeviceID, reason string) error {
	return s.cfg.Gate.Refuse(ctx, c, access.ElementProvide, string(id), reason, wallet.ErrRefused)
}

// hide records why a refusal is one, and answers all of them alike.
func (s *Service) hide(ctx context.Context, c access.Caller, subject, reason string, err error) error {
	if k := fault.KindOf(err); err == nil || k != fault.Refused && k != fault.TokenUnknown {
		return err
	}
	return s.cfg.Gate.Refuse(ctx, c, access.ElementProvide, subject, reason, wallet.ErrRefused)
}

// issuable returns a token that e may be given, or why it may not.
func (s *Service) issuable(ctx context.Context, e Element, ref token.Ref) (t token.Token, reason string, err error) {
	w, device, err := s.cfg.Accounts.Holder(ctx, ref)
	if err == nil {
		t, err = s.cfg.Tokens.Token(ctx, ref)
	}
	switch k := fault.KindOf(err); {
	case err != nil && (k == fault.Refused || k == fault.TokenUnknown):
		return t, "token", nil
	case err != nil:
		return t, "", err
	case w != e.Wallet || device != e.ID:
		return t, "foreign-token", nil
	case !t.State.Usable() || !t.Decision.Allows() || !s.cfg.Now().Before(t.NotAfter):
		return t, "token-state", nil
	case !s.cfg.Terms.Covers(t.NotBefore, t.NotAfter):
		return t, "token-ttl", nil
	}
	early, err := s.early(ctx, e, ref)
	if err != nil || !early {
		return t, "", err
	}
	return t, "token-early", nil
}

// early reports whether e holds another token that still pays: an element has one at
// a time, and the next takes its slots away. Those count against the ceiling until
// their token's end, so the next could not be given as many.
func (s *Service) early(ctx context.Context, e Element, next token.Ref) (bool, error) {
	if e.Ref == "" || e.Ref == next || e.State == Erased {
		return false, nil
	}
	t, err := s.cfg.Tokens.Token(ctx, e.Ref)
	if err != nil {
		return false, err
	}
	return t.State.Usable() && s.cfg.Now().Before(t.NotAfter), nil
}

// pin opens a sealed PIN. Its digits are in memory until they are enciphered to
// the element, and nowhere after that.
func (s *Service) pin(ctx context.Context, e Element, sealed string) (p mask.PIN, has bool, reason string, err error) {
	if sealed == "" {
		return p, false, "", nil
	}
	plain, err := s.cfg.Opener.Plain(ctx, sealed)
	defer clear(plain)
	if err != nil {
		if fault.KindOf(err) == fault.Intake {
			return p, false, "sealed", nil
		}
		return p, false, "", err
	}
	if p, err = payload.ParsePINText(plain, e.Wallet); err != nil {
		return p, false, "text", nil
	}
	if mask.Weak(p) != mask.Strong {
		return p, false, "weak", nil
	}
	return p, true, "", nil
}

// issue makes the script that brings a token. Its keys go from the HSM to the
// element; nobody between can read them.
func (s *Service) issue(ctx context.Context, e Element, m message.Script, t token.Token, pin mask.PIN, has bool) (out Script, err error) {
	a := message.Application{Issuer: s.cfg.Issuer, AppType: s.cfg.AppType, AppVersion: s.cfg.AppVersion, ASN: t.Number.ASN(),
		From: s.civil(t.NotBefore), To: s.civil(t.NotAfter), KeyVersion: e.KeyVersion, Algorithm: s.cfg.AlgorithmID, AID: s.cfg.AID}
	for _, k := range []struct {
		to *[]byte
		u  keyref.Usage
	}{{&a.Purchase, keyref.SlotPurchaseMaster}, {&a.TAC, keyref.SlotTACMaster}} {
		path, err := keyref.Ref{Realm: s.cfg.Realm, Usage: k.u, Version: e.KeyVersion}.Path(s.cfg.Issuer, [8]byte(a.ASN[2:]))
		if err != nil {
			return out, err
		}
		if *k.to, err = s.cfg.Keys.WrapTokenKey(ctx, path, e.Key); err != nil {
			return out, err
		}
	}
	if a.Secret, err = s.secret(ctx, e, m.Seq, pin, has); err != nil {
		return out, err
	}
	m.Body = a.Bytes()
	sig, err := s.cfg.Keys.Sign(ctx, keyref.Ref{Usage: keyref.CredSign, Version: s.cfg.CredVersion}, m.Digest())
	if err != nil {
		return out, fmt.Errorf("signing a script: %w", err)
	}
	return Script{Bytes: m.Signed(sig), Ref: t.Ref}, nil
}

func (s *Service) unblock(ctx context.Context, e Element, m message.Script, pin mask.PIN, has bool) (out Script, err error) {
	if has {
		if m.Body, err = s.secret(ctx, e, m.Seq, pin, true); err != nil {
			return out, err
		}
	}
	return s.mac(ctx, e, m)
}

// secret enciphers the script key, and a PIN, to the element.
func (s *Service) secret(ctx context.Context, e Element, seq uint32, pin mask.PIN, has bool) ([]byte, error) {
	k, err := s.key(ctx, e)
	if err != nil {
		return nil, err
	}
	defer clear(k[:])
	plain := message.Secret(&k, pin, has)
	defer clear(plain)
	out, err := rsa.EncryptOAEP(sha256.New(), s.cfg.Rand, e.Key, plain, message.Label(e.Serial, seq))
	if err != nil {
		return nil, fmt.Errorf("enciphering to an element: %w", err)
	}
	return out, nil
}

// mac finishes a script under the element's key.
func (s *Service) mac(ctx context.Context, e Element, m message.Script) (Script, error) {
	k, err := s.key(ctx, e)
	if err != nil {
		return Script{}, err
	}
	defer clear(k[:])
	return Script{Bytes: m.MAC(k)}, nil
}

// key derives the element's script key in the HSM. It is stored nowhere.
func (s *Service) key(ctx context.Context, e Element) (k message.Key, err error) {
	ref := keyref.Ref{Usage: keyref.Script, Version: s.cfg.ScrVersion}
	sum, err := s.cfg.Keys.HMAC(ctx, ref, fmt.Appendf(nil, "tapvault/element/v1|%s|%x", e.ID, e.Serial))
	if err != nil {
		return k, fmt.Errorf("deriving an element's key: %w", err)
	}
	copy(k[:], sum[:])
	return k, nil
}

func (s *Service) civil(t time.Time) [4]byte { return payload.CivilDate(t.In(s.cfg.Zone)) }
