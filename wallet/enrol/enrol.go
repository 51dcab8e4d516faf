// Package enrol registers phones and decides how much offline money each may hold.
//
// A device is two EC P-256 public keys and what an attestation said of where they
// live. From the attestation follows its [Tier], and from the tier its [Terms]: how
// many slots, of what worth, for how long. A tier falls by itself, when the security
// patch ages or a later verdict is worse, and rises only with a new attestation.
//
// What does not hold about a wallet or a device is [wallet.ErrRefused], always in the
// same words; why is in the audit record only.
package enrol

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
)

// MaxWallets is how many wallets one attestation leaf, and one key of a device, may
// serve: beyond, it is taken for one that was copied.
const MaxWallets = 3

// ErrKeys reports keys of a device that are not two different P-256 keys.
var ErrKeys = fault.New(fault.Malformed, "a device has two different public EC P-256 keys")

// Device is an enrolled device.
type Device struct {
	ID          token.DeviceID
	Wallet      token.WalletID
	Client      string           // id of the client that enrolled it
	WrapKey     *ecdsa.PublicKey // P-256: bundles are enciphered to it (ECDH-ES+A256KW, RFC 7518)
	SignKey     *ecdsa.PublicKey // P-256: of what the device signs (ES256)
	Attestation Attestation      // the last one
	Tier        Tier
	Reasons     []Reason // why it is not in a better tier
	EnrolledAt  time.Time
	Judged      int // how often its tier was judged again
}

// Store keeps devices. Safe for concurrent use.
type Store interface {
	// Insert makes d durable, once per attempt: a repeated one returns the
	// device of the first. It returns [wallet.ErrRefused] when the leaf or a key
	// serves [MaxWallets] other wallets already. What is kept, and returned, is
	// d as [Device.Beside] the others of its leaf or keys that its client enrolled.
	Insert(ctx context.Context, caller string, a access.Attempt, d Device) (Device, error)
	// Device returns a device, or [wallet.ErrRefused].
	Device(ctx context.Context, id token.DeviceID) (Device, error)
	// Judge replaces attestation, tier and reasons of a device, if it was judged
	// d.Judged times so far, and counts one more. It reports false, and changes
	// nothing, when it was judged meanwhile.
	Judge(ctx context.Context, d Device) (bool, error)
	// Attest is Judge by a new attestation: its leaf is counted, and the device kept,
	// as by Insert.
	Attest(ctx context.Context, d Device) (Device, bool, error)
}

// Wallets knows which wallets there are.
type Wallets interface {
	// Open returns nil when c may add a device to the wallet and the wallet takes
	// one, and an error of kind [fault.Refused] when not.
	Open(ctx context.Context, c access.Caller, w token.WalletID) error
}

// Config is what a [Service] is made of; fields without a default are required.
type Config struct {
	Store   Store
	Wallets Wallets
	Gate    audit.Gate
	Tiers   Tiers            // nil: [DefaultTiers]
	Now     func() time.Time // nil: time.Now
	Rand    io.Reader        // nil: crypto/rand
}

// Service enrols devices. It is safe for concurrent use.
type Service struct{ cfg Config }

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Wallets == nil || c.Gate.Recorder == nil {
		return nil, errors.New("enrol: store, wallets and gate are all needed")
	}
	if c.Tiers == nil {
		c.Tiers = DefaultTiers()
	}
	if err := c.Tiers.Validate(); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	c.Now, c.Rand = wallet.Defaults(c.Now, c.Rand)
	return &Service{c}, nil
}

// Request is what a device brings.
type Request struct {
	Wallet           token.WalletID
	WrapKey, SignKey []byte // public EC P-256 keys, two different ones, each as a JWK (RFC 7517)
	Attestation      Attestation
	Attempt          access.Attempt
}

// Enrol registers a device and gives it an id and a tier, once per attempt. Keys that do
// not fit are [ErrKeys] or [wallet.ErrDeviceKey]; an attestation that cannot be read, or is
// more than two minutes ahead of the clock, is [token.ErrMalformed]. A wallet that
// takes no device from this caller, and an attestation key that serves [MaxWallets]
// wallets already, are [wallet.ErrRefused].
func (s *Service) Enrol(ctx context.Context, c access.Caller, q Request) (Device, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.DeviceEnrol, string(q.Wallet)); err != nil {
		return Device{}, err
	}
	d, err := s.read(q)
	if err != nil {
		return Device{}, err
	}
	if err := s.cfg.Wallets.Open(ctx, c, q.Wallet); err != nil {
		return Device{}, s.hide(ctx, c, string(q.Wallet), "wallet", err)
	}
	d.Client = c.ID
	if d.ID, err = token.DrawDeviceID(s.cfg.Rand); err != nil {
		return Device{}, err
	}
	d, err = s.cfg.Store.Insert(ctx, c.ID, q.Attempt, d)
	return d, s.hide(ctx, c, string(q.Wallet), "leaf", err)
}

// hide records why a refusal is one, and answers all of them alike.
func (s *Service) hide(ctx context.Context, c access.Caller, subject, reason string, err error) error {
	if err == nil || fault.KindOf(err) != fault.Refused {
		return err
	}
	return s.cfg.Gate.Refuse(ctx, c, access.DeviceEnrol, subject, reason, wallet.ErrRefused)
}

func (s *Service) read(q Request) (d Device, err error) {
	if d.WrapKey, err = wallet.ParseKey(q.WrapKey); err != nil {
		return d, err
	}
	if d.SignKey, err = wallet.ParseKey(q.SignKey); err != nil {
		return d, err
	}
	if d.WrapKey.Equal(d.SignKey) {
		return d, ErrKeys
	}
	if err := q.Attestation.check(); err != nil {
		return d, err
	}
	now := s.cfg.Now()
	if q.Attestation.At.After(now.Add(120 * time.Second)) {
		return d, fmt.Errorf("%w: an attestation of the future", token.ErrMalformed)
	}
	d.Wallet, d.Attestation, d.EnrolledAt = q.Wallet, q.Attestation, now
	d.Tier, d.Reasons = judge(q.Attestation, now)
	return d, nil
}

// Attest judges a device by a new attestation: the one way up. Only the client that
// enrolled a device may bring one, and it has to be newer than the last. When another
// judgement is made at the same time, the device is returned as that one left it.
func (s *Service) Attest(ctx context.Context, c access.Caller, id token.DeviceID, a Attestation) (Device, error) {
	if err := s.cfg.Gate.Check(ctx, c, access.DeviceEnrol, string(id)); err != nil {
		return Device{}, err
	}
	if err := a.check(); err != nil {
		return Device{}, err
	}
	d, err := s.cfg.Store.Device(ctx, id)
	if err != nil {
		return Device{}, s.hide(ctx, c, string(id), "unknown-device", err)
	}
	now := s.cfg.Now()
	switch {
	case d.Client != c.ID:
		return Device{}, s.hide(ctx, c, string(id), "foreign-device", wallet.ErrRefused)
	case !a.At.After(d.Attestation.At) || a.At.After(now.Add(120*time.Second)):
		return Device{}, s.hide(ctx, c, string(id), "old-attestation", wallet.ErrRefused)
	}
	d.Attestation = a
	d.Tier, d.Reasons = judge(a, now)
	d, ok, err := s.cfg.Store.Attest(ctx, d)
	if err != nil {
		return Device{}, s.hide(ctx, c, string(id), "leaf", err)
	}
	if !ok {
		return s.cfg.Store.Device(ctx, id) // another judgement came first, and stands
	}
	return d, nil
}

// Beside returns d in no better tier than any of others that was attested no earlier. They
// are those of its attestation leaf or of one of its keys: what was taken from one of them
// since is not had back by showing the same attestation once more, for another enrolment.
func (d Device) Beside(others []Device) Device {
	for _, o := range others {
		if o.ID == d.ID || o.Attestation.At.Before(d.Attestation.At) || lower(d.Tier, o.Tier) == d.Tier {
			continue
		}
		d.Tier = o.Tier
		for _, why := range o.Reasons {
			if !slices.Contains(d.Reasons, why) {
				d.Reasons = append(slices.Clone(d.Reasons), why)
			}
		}
	}
	return d
}

// Lower takes a device down to tier at most, whatever it was attested as. It
// does nothing when the device is there already.
func (s *Service) Lower(ctx context.Context, id token.DeviceID, tier Tier, why Reason) (Device, error) {
	d, err := s.cfg.Store.Device(ctx, id)
	if err != nil {
		return Device{}, err
	}
	return s.lower(ctx, d, tier, why)
}

// Distrust takes a device down by one tier, because its taps showed signs of fraud when
// they were uploaded. It does so once until the device is attested anew, and nothing to
// a device that it does not know, or that is none of the wallet that they were of: who binds
// a token names any device.
func (s *Service) Distrust(ctx context.Context, w token.WalletID, id token.DeviceID) error {
	d, err := s.cfg.Store.Device(ctx, id)
	if fault.KindOf(err) == fault.Refused {
		return nil
	}
	if err != nil || d.Wallet != w || slices.Contains(d.Reasons, Detected) {
		return err
	}
	next := min(slices.Index(order, d.Tier)+1, len(order)-1)
	_, err = s.lower(ctx, d, order[next], Detected)
	return err
}

// Now returns a device as it is to be judged today: patches age, and with
// them tiers fall.
func (s *Service) Now(ctx context.Context, d Device) (Device, error) {
	tier, why := judge(d.Attestation, s.cfg.Now())
	if lower(d.Tier, tier) == d.Tier {
		return d, nil
	}
	return s.lower(ctx, d, tier, why[0])
}

// lower goes on until it is done: a judgement that came between may have
// raised the device.
func (s *Service) lower(ctx context.Context, d Device, tier Tier, why Reason) (Device, error) {
	for lower(d.Tier, tier) != d.Tier {
		d.Tier = tier
		if !slices.Contains(d.Reasons, why) {
			d.Reasons = append(slices.Clone(d.Reasons), why)
		}
		ok, err := s.cfg.Store.Judge(ctx, d)
		if err != nil {
			return Device{}, err
		}
		if ok {
			d.Judged++
			return d, nil
		}
		if d, err = s.cfg.Store.Device(ctx, d.ID); err != nil {
			return Device{}, err
		}
	}
	return d, nil
}

// Device returns a device as it was judged last, or [wallet.ErrRefused].
func (s *Service) Device(ctx context.Context, id token.DeviceID) (Device, error) {
	return s.cfg.Store.Device(ctx, id)
}

// Terms returns what a tier allows; a tier that does not exist is allowed nothing.
func (s *Service) Terms(t Tier) Terms { return s.cfg.Tiers[t] }

// Hardware reports whether to open the device's bundles takes, beside the PIN, an HMAC key
// in its hardware.
func (d Device) Hardware() bool {
	return (d.Tier == TierA || d.Tier == TierSE) && d.Attestation.HardwareMAC
}

// point prints a key for comparison and storage: a compressed point. A key that
// was parsed always prints.
func point(k *ecdsa.PublicKey) []byte {
	b, err := k.Bytes()
	if err != nil {
		return nil
	}
	return append([]byte{2 | b[64]&1}, b[1:33]...)
}

// Points returns both keys as compressed points (SEC 1, 2.3.3), 33 bytes each.
func (d Device) Points() (wrap, sign []byte) { return point(d.WrapKey), point(d.SignKey) }
