package wallet

import (
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Grant is a bundle that an account pays for, and the device that gets it. It
// was durable before it came here: making the bundle of one grant twice gives
// the bundle that was stored first.
type Grant struct {
	ID       string // of the bundle: 32 lower-case hex digits
	Ref      token.Ref
	Slots    []credential.UD // counters rise by one
	Device   token.DeviceID
	WrapKey  *ecdsa.PublicKey
	ProofKey [33]byte // makes the device's proofs for this bundle
	Risk     byte
	PINEpoch uint32
	Hardware bool // masks need a key in the device's hardware
	// Lend lends S, the wallet's stretched PIN.
	Lend func(ctx context.Context, use func(*mask.Secret) error) error
}

// Make makes the bundle of a grant, or finds it. Who calls has passed the gate,
// and has checked the device.
//
// The bundle is sealed first and stored then, and what was stored first is what
// everybody gets: a slot's key is never seen under two seals.
func (s *Service) Make(ctx context.Context, c access.Caller, g Grant) (Bundle, error) {
	if s.Granted == nil {
		return Bundle{}, errors.New("wallet: no store for granted bundles")
	}
	t, err := s.usable(ctx, c, g.Ref)
	if err != nil {
		return Bundle{}, err
	}
	b, err := s.Store.Bundle(ctx, g.ID)
	if errors.Is(err, ErrUnknown) {
		if b, err = s.granted(ctx, t, g); err == nil {
			b, err = s.Granted.Put(ctx, c.ID, b, s.Now())
		}
	}
	if err != nil {
		return Bundle{}, err
	}
	if b.Ref != g.Ref || b.Device != g.Device || b.PINEpoch != g.PINEpoch {
		return Bundle{}, s.Gate.Refuse(ctx, c, access.BundleCreate, string(g.Ref), "foreign-bundle", ErrRefused)
	}
	return b, s.delivered(ctx, t)
}

// granted builds and seals the bundle of g.
func (s *Service) granted(ctx context.Context, t token.Token, g Grant) (Bundle, error) {
	b := Bundle{ID: g.ID, Ref: g.Ref, Slots: len(g.Slots), NotAfter: t.NotAfter, Device: g.Device, PINEpoch: g.PINEpoch}
	id, err := hex.DecodeString(g.ID)
	if err != nil || len(id) != 16 || len(g.Slots) == 0 || len(g.Slots) > payload.MaxSlots {
		return Bundle{}, fmt.Errorf("%w: a grant without an id or slots", token.ErrMalformed)
	}
	b.CtrFirst = g.Slots[0].Ctr
	var p payload.Payload
	defer p.Wipe()
	if p.Slots, err = s.slots(ctx, t, g.Slots); err != nil {
		return Bundle{}, err
	}
	if p.Script, err = s.script(ctx, b); err != nil {
		return Bundle{}, err
	}
	if p.Credential, err = s.credential(ctx, t, g.Slots, g.ProofKey, g.Risk); err != nil {
		return Bundle{}, err
	}
	if !p.Credential.Covers(g.Slots[0]) { // they were granted before the token was made to end sooner: no phone would open them
		return Bundle{}, ErrState
	}
	var hw [mask.SecretSize]byte
	defer clear(hw[:])
	if b.Hardware, err = s.hardware(g, &hw); err != nil {
		return Bundle{}, err
	}
	err = g.Lend(ctx, func(secret *mask.Secret) error { return hide(p.Slots, secret, g.Hardware, &hw, [16]byte(id)) })
	if err != nil {
		return Bundle{}, fmt.Errorf("masking slots: %w", err)
	}
	open := p.Bytes()
	defer clear(open)
	b.JWE, err = seal(g.WrapKey, open, s.grantHeaders(t, b, g))
	return b, err
}

// hide masks the TAC key of every slot that needs a PIN.
func hide(slots []payload.Slot, secret *mask.Secret, hardware bool, hw *[mask.SecretSize]byte, bundle [16]byte) error {
	var by mask.HMAC
	if hardware {
		by = mask.Software(hw)
	}
	for i := range slots {
		if slots[i].UD.Class == credential.Express {
			continue
		}
		if err := mask.Apply(&slots[i].TAC, secret, by, mask.Slot{Bundle: bundle, Ctr: slots[i].UD.Ctr}); err != nil {
			return err
		}
	}
	return nil
}

// hardware draws the key that masks of tier A need, and seals it by itself: the
// device puts it into its hardware before it opens anything else.
func (s *Service) hardware(g Grant, hw *[mask.SecretSize]byte) (string, error) {
	if !g.Hardware {
		return "", nil
	}
	if _, err := io.ReadFull(s.Rand, hw[:]); err != nil {
		return "", fmt.Errorf("drawing a hardware key: %w", err)
	}
	return seal(g.WrapKey, hw[:], map[string]any{
		payload.HeaderVersion: payload.Version,
		payload.HeaderBundle:  g.ID,
		payload.HeaderDevice:  string(g.Device),
		payload.HeaderUses:    len(g.Slots) + payload.SpareUses,
	})
}

func (s *Service) grantHeaders(t token.Token, b Bundle, g Grant) map[string]any {
	h := s.headers(t, b, s.version(g.Slots[0]))
	h[payload.HeaderDevice], h[payload.HeaderEpoch], h[payload.HeaderHardware] = string(g.Device), g.PINEpoch, g.Hardware
	return h
}

// Orders makes a script for each bundle of a token, with its MAC. Who calls has
// passed the gate.
func (s *Service) Orders(ctx context.Context, ref token.Ref, o payload.Script) (scripts [][]byte, err error) {
	all, err := s.Granted.Of(ctx, ref)
	if err != nil {
		return nil, err
	}
	for _, b := range all {
		id, err := hex.DecodeString(b.ID)
		if err != nil || len(id) != 16 {
			return nil, errors.New("ordering: a bundle's id is damaged")
		}
		o.Bundle = [16]byte(id)
		if o.Seq, err = s.Granted.NextScript(ctx, b.ID); err != nil {
			return nil, err
		}
		key, err := s.script(ctx, b)
		if err != nil {
			return nil, err
		}
		out := payload.MarshalScript(o, key)
		clear(key[:])
		scripts = append(scripts, out[:])
	}
	return scripts, nil
}
