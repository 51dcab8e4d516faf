package wallet

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Bundle gives the device that holds the private half of deviceKey (a JWK) a
// bundle under the token ref. A token whose window has not opened yet may be
// provisioned: tomorrow's is fetched ahead.
//
// A repeated attempt returns the same bytes, also when the first answer was
// lost; with another device key it is refused as a reused key.
func (s *Service) Bundle(ctx context.Context, c access.Caller, ref token.Ref, deviceKey []byte, a access.Attempt) (Bundle, error) {
	if err := s.Gate.Check(ctx, c, access.BundleCreate, ref.Object()); err != nil {
		return Bundle{}, err
	}
	t, err := s.usable(ctx, c, ref)
	if err != nil {
		return Bundle{}, err
	}
	if err := s.unbound(ctx, c, ref); err != nil {
		return Bundle{}, err
	}
	b, found, err := s.Store.Find(ctx, c.ID, a)
	if err != nil {
		return Bundle{}, err
	}
	if !found {
		if b, err = s.make(ctx, c, t, deviceKey); err != nil {
			return Bundle{}, err
		}
		if b, err = s.Store.Insert(ctx, c.ID, a, b, s.Now()); err != nil {
			return Bundle{}, fmt.Errorf("storing bundle: %w", err)
		}
	}
	if b.Ref != ref { // the attempt's digest covers the token, so this cannot be asked for in good faith
		return Bundle{}, ErrUnknown
	}
	return b, s.delivered(ctx, t)
}

// unbound refuses a token that belongs to a wallet: its slots are paid for by an
// account, and come with a sync.
func (s *Service) unbound(ctx context.Context, c access.Caller, ref token.Ref) error {
	if s.Bound == nil {
		return nil
	}
	bound, err := s.Bound(ctx, ref)
	if err == nil && bound {
		err = s.Gate.Refuse(ctx, c, access.BundleCreate, ref.Object(), "bound-token", ErrRefused)
	}
	return err
}

// delivered notes that t's first bundle is on its way.
func (s *Service) delivered(ctx context.Context, t token.Token) error {
	if t.State != token.Requested {
		return nil
	}
	if _, err := s.move(ctx, t, token.Deliver); err != nil {
		return fmt.Errorf("marking token delivered: %w", err)
	}
	return nil
}

// usable returns the token when c may see it and its state and window allow
// provisioning. Precise reasons go to the record.
func (s *Service) usable(ctx context.Context, c access.Caller, ref token.Ref) (token.Token, error) {
	t, err := s.Tokens.Token(ctx, ref)
	if fault.KindOf(err) == fault.TokenUnknown { // in the very words that another requestor's token gets
		return token.Token{}, s.Gate.Refuse(ctx, c, access.BundleCreate, ref.Object(), "unknown", ErrUnknown)
	}
	if err != nil {
		return token.Token{}, err
	}
	reason, refusal := "", error(nil)
	switch {
	case c.Requestor != "" && c.Requestor != string(t.Requestor):
		reason, refusal = "foreign", ErrUnknown
	case t.State == token.Suspended:
		reason, refusal = "suspended", ErrSuspended
	case t.State == token.Expired || !s.Now().Before(t.NotAfter):
		reason, refusal = "expired", ErrExpired
	case !t.State.Usable(), !t.Decision.Allows():
		reason, refusal = "state", ErrState
	}
	if refusal != nil {
		return token.Token{}, s.Gate.Refuse(ctx, c, access.BundleCreate, ref.Object(), reason, refusal)
	}
	return t, nil
}

// move takes t where v leads. When somebody else moved it in the meantime (its
// first tap came in, or another device was served), it looks where it stands
// now and goes on from there.
func (s *Service) move(ctx context.Context, t token.Token, v token.Verb) (token.Token, error) {
	for try := 0; ; try++ {
		moved, err := s.Tokens.Move(ctx, t.Ref, t.State, v, s.Now())
		if err == nil {
			return moved, nil
		}
		from := t.State
		now, readErr := s.Tokens.Token(ctx, t.Ref)
		if readErr != nil || now.State == from || !now.State.Usable() || try > 2 {
			return token.Token{}, err
		}
		if next, ok := now.State.Next(v); ok && next == now.State {
			return now, nil
		}
		t = now
	}
}

// make takes counters and builds a sealed bundle from them. Keys exist in
// memory for as long as this call lasts.
//
// A token that was bound before its counters were taken is refused here, at the latest; one
// of which counters were taken is bound no more. They are lost, which harms nobody.
func (s *Service) make(ctx context.Context, c access.Caller, t token.Token, deviceKey []byte) (Bundle, error) {
	device, err := ParseKey(deviceKey)
	if err != nil {
		return Bundle{}, err
	}
	var id [16]byte
	if _, err := io.ReadFull(s.Rand, id[:]); err != nil {
		return Bundle{}, fmt.Errorf("choosing bundle id: %w", err)
	}
	first, err := s.Tokens.TakeCounters(ctx, t.Ref, s.Slots)
	if err != nil {
		return Bundle{}, fmt.Errorf("taking counters: %w", err)
	}
	if err := s.unbound(ctx, c, t.Ref); err != nil {
		return Bundle{}, err
	}
	b := Bundle{ID: hex.EncodeToString(id[:]), Ref: t.Ref, Slots: s.Slots, CtrFirst: first, NotAfter: t.NotAfter}
	p, err := s.contents(ctx, t, b)
	defer p.Wipe()
	if err != nil {
		return Bundle{}, err
	}
	open := p.Bytes()
	defer clear(open)
	b.JWE, err = seal(device, open, s.headers(t, b, s.version(p.Slots[0].UD)))
	return b, err
}

func (s *Service) contents(ctx context.Context, t token.Token, b Bundle) (p payload.Payload, err error) {
	uds, version := make([]credential.UD, s.Slots), s.inUse()[0]
	for i := range uds {
		if uds[i], err = credential.NewUD(t.NotAfter, b.CtrFirst+uint16(i), s.Cap, credential.Medium, version); err != nil {
			return p, fmt.Errorf("describing slots: %w", err)
		}
	}
	if p.Slots, err = s.slots(ctx, t, uds); err != nil {
		return p, err
	}
	if p.Script, err = s.script(ctx, b); err != nil {
		return p, err
	}
	p.Credential, err = s.credential(ctx, t, uds, [33]byte{}, 0)
	return p, err
}

// credential signs what the issuer says of a bundle of these slots.
func (s *Service) credential(ctx context.Context, t token.Token, uds []credential.UD, device [33]byte, risk byte) (credential.Credential, error) {
	c := credential.Credential{
		IssuerID:  [4]byte(s.Issuer[:4]),
		KeyID:     uint16(s.CredVersion),
		Number:    t.Number,
		NotBefore: t.NotBefore,
		NotAfter:  t.NotAfter,
		Risk:      risk,
		CtrFirst:  uds[0].Ctr,
		CtrCount:  byte(len(uds)),
		DeviceKey: device,
	}
	for _, u := range uds {
		c.Limit += u.Limit()
		c.MaxTap = max(c.MaxTap, u.Limit())
	}
	return c.Sign(func(digest [32]byte) ([64]byte, error) { return s.Keys.Sign(ctx, s.credKey(), digest) })
}

// slots derives both keys of each slot: two calls to the HSM, however many slots
// there are.
func (s *Service) slots(ctx context.Context, t token.Token, uds []credential.UD) ([]payload.Slot, error) {
	slots, factors := make([]payload.Slot, len(uds)), make([]keyref.Factor, len(uds))
	for i, u := range uds {
		slots[i].UD, factors[i] = u, u.Bytes()
	}
	asn := t.Number.ASN()
	for _, u := range []keyref.Usage{keyref.SlotPurchaseMaster, keyref.SlotTACMaster} {
		path, err := s.master(u, s.version(uds[0])).Path(s.Issuer, [8]byte(asn[2:]))
		if err != nil {
			return nil, err
		}
		keys, err := s.Keys.SlotKeys(ctx, path, factors)
		if err == nil && len(keys) != len(slots) {
			err = fmt.Errorf("got %d keys for %d slots", len(keys), len(slots))
		}
		for i := range keys {
			if err == nil && u == keyref.SlotPurchaseMaster {
				slots[i].Purchase = keys[i]
			} else if err == nil {
				slots[i].TAC = keys[i]
			}
		}
		clear(keys)
		if err != nil {
			clear(slots)
			return nil, fmt.Errorf("deriving slot keys: %w", err)
		}
	}
	return slots, nil
}

// script derives the bundle's script key. It depends on nothing but the bundle
// and its token, so an acknowledgement is checked without storing it.
func (s *Service) script(ctx context.Context, b Bundle) (key [payload.KeySize]byte, err error) {
	sum, err := s.Keys.HMAC(ctx, s.scriptKey(), []byte("tapvault/scrk/v1|"+b.ID+"|"+string(b.Ref)))
	if err != nil {
		return key, fmt.Errorf("deriving script key: %w", err)
	}
	copy(key[:], sum[:])
	return key, nil
}

func (s *Service) headers(t token.Token, b Bundle, version byte) map[string]any {
	card := payload.Card{
		AID: s.AID, Issuer: s.Issuer, AppType: s.AppType, AppVersion: s.AppVersion,
		From: s.civil(t.NotBefore), To: s.civil(t.NotAfter),
		KeyVersion: version, Algorithm: s.AlgorithmID,
	}
	return map[string]any{
		payload.HeaderVersion: payload.Version,
		payload.HeaderBundle:  b.ID,
		payload.HeaderToken:   string(b.Ref),
		payload.HeaderExpiry:  b.NotAfter.Unix(),
		payload.HeaderCard:    card.Header(),
	}
}

// civil returns t's date in the zone of the cards.
func (s *Service) civil(t time.Time) [4]byte { return payload.CivilDate(t.In(s.Zone)) }
