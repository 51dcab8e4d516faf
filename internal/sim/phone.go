package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/bundle"
	"github.com/tapvault/tapvault/wallet/mask"
)

// Tier is how far a device is trusted when it enrols.
type Tier string

// Tiers.
const (
	TierA Tier = "A" // also the zero value
	TierB Tier = "B"
)

// Issuing is who gives people wallets, tokens and slots: the callers of the API
// that do it, and what phones run on.
type Issuing struct {
	Issuer, Wallet *client.Client
	Terminal       *client.Client   // for fobs: what an element is made with is what readers are told
	Now            func() time.Time // of phones; nil: time.Now
	Stretch        mask.Stretch     // nil: as on a phone
}

// Spec says what a holder has.
type Spec struct {
	Card     string       // number of the card behind the token; required
	PIN      string       // six digits; required
	Tier     Tier         // "": A
	TopUp    token.Amount // 0: 100 yuan
	RealName bool
	Leaf     string // of the attestation; "": the device's own
}

// ErrEnrolment reports a device that the service did not take.
var ErrEnrolment = errors.New("sim: the device was not enrolled")

// Holder is somebody with a wallet and a token for today.
type Holder struct {
	Wallet token.WalletID
	Device token.DeviceID
	Ref    token.Ref
	Number string // of the token
	Spec
	by    Issuing
	epoch uint32
}

// Phone is an honest phone: the package that phones link, and the holder's
// hand.
type Phone struct {
	*bundle.Handset
	*Holder
	shift time.Duration
}

// Phone gives somebody a wallet, tops it up, enrols a phone, sets its PIN, and
// syncs: it can ride.
func (i Issuing) Phone(ctx context.Context, spec Spec) (*Phone, error) {
	h, err := i.holder(ctx, spec)
	if err != nil {
		return nil, err
	}
	p := &Phone{Holder: h}
	keys, err := i.serviceKeys(ctx)
	if err != nil {
		return nil, err
	}
	p.Handset, err = bundle.NewHandset(bundle.HandsetConfig{Wallet: h.Wallet, SyncKey: keys.sync, PINKey: keys.pin,
		Stretch: h.by.Stretch, Now: func() time.Time { return h.by.Now().Add(p.shift) }})
	if err != nil {
		return nil, err
	}
	wrap, sign, err := p.Keys()
	if err != nil {
		return nil, err
	}
	if err := h.enrol(ctx, wrap, sign); err != nil {
		return nil, err
	}
	p.Enrolled(h.Device)
	sealed, err := p.SealPIN(spec.PIN)
	if err != nil {
		return nil, err
	}
	if err := h.setPIN(ctx, sealed); err != nil {
		return nil, err
	}
	p.PINChanged(h.epoch)
	if err := h.token(ctx); err != nil {
		return nil, err
	}
	_, err = p.Sync(ctx)
	return p, err
}

// Shift sets the phone's clock wrong by d from now on.
func (p *Phone) Shift(d time.Duration) { p.shift = d }

// Live is how many slots the phone has left.
func (p *Phone) Live() int { return p.Count(p.Ref) }

// Synced is what a sync came to.
type Synced struct {
	Result string // CLEAN, GAPS, CONTRADICTION
	State  string // of the wallet
	Slots  int    // new ones
}

// Sync brings phone and account in step.
func (p *Phone) Sync(ctx context.Context) (Synced, error) {
	q, err := p.Handset.Sync(p.Ref)
	if err != nil {
		return Synced{}, err
	}
	a, s, err := p.sync(ctx, q)
	if err != nil {
		return Synced{}, fmt.Errorf("syncing: %w", err)
	}
	if err := p.Apply(p.Ref, a); err != nil {
		return Synced{}, fmt.Errorf("taking a sync's answer: %w", err)
	}
	if id, mac, ok := p.Ack(p.Ref); ok && s.Slots > 0 {
		if err := p.ack(ctx, id, mac); err != nil {
			return Synced{}, err
		}
	}
	return s, nil
}

// VerifyPIN gives a PIN online and reports whether the service took it.
func (p *Phone) VerifyPIN(ctx context.Context, pin string) (bool, error) {
	sealed, err := p.SealPIN(pin)
	if err != nil {
		return false, err
	}
	return p.verifyPIN(ctx, sealed)
}

// Secret is what a PIN stretches to.
func (h *Holder) Secret(pin string) []byte {
	s := h.secret(pin)
	return s[:]
}

func (h *Holder) secret(pin string) (s mask.Secret) {
	p, err := mask.ParsePIN([]byte(pin))
	if err != nil {
		return s
	}
	defer p.Wipe()
	return h.by.Stretch(p, mask.Salt(h.Wallet, h.epoch))
}

// Remember is a stretch that computes each secret once. PINs are stretched by a
// function made to be slow; the thousandth time, nothing is learned from it.
func Remember(stretch mask.Stretch) mask.Stretch {
	var mu sync.Mutex
	known := map[string]mask.Secret{}
	return func(p mask.PIN, salt [mask.SaltSize]byte) mask.Secret {
		key := string(p.AppendTo(salt[:]))
		mu.Lock()
		defer mu.Unlock()
		s, ok := known[key]
		if !ok {
			s = stretch(p, salt)
			known[key] = s
		}
		return s
	}
}
