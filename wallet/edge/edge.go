// Package edge is where a phone and its account are brought in step: it checks
// who speaks, opens what was sealed, lets the account settle it, and gives the
// slots that the account granted.
//
// Grant first, then seal. The account makes a grant durable before it answers;
// the bundle is made from it after that. Whatever breaks in between is healed by
// the phone, which repeats its sync: the grant is the same one, and the bundle
// stored first is the one that is delivered.
package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/audit"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/mask"
	"github.com/tapvault/tapvault/wallet/payload"
)

// Accounts settles syncs.
type Accounts interface {
	Sync(ctx context.Context, c access.Caller, q account.SyncRequest) (account.Settlement, error)
	// Holder says to which wallet and device a token is bound; an error of kind
	// [fault.Refused] says to none.
	Holder(ctx context.Context, ref token.Ref) (token.WalletID, token.DeviceID, error)
}

// Devices knows devices and what they may have.
type Devices interface {
	Device(ctx context.Context, id token.DeviceID) (enrol.Device, error)
	// Now lowers a device that has aged; Lower lowers it to a tier at most.
	Now(ctx context.Context, d enrol.Device) (enrol.Device, error)
	Lower(ctx context.Context, id token.DeviceID, t enrol.Tier, why enrol.Reason) (enrol.Device, error)
	Terms(t enrol.Tier) enrol.Terms
}

// PINs knows the PINs of wallets.
type PINs interface {
	Epoch(ctx context.Context, w token.WalletID) (uint32, error)
	Lend(ctx context.Context, w token.WalletID, epoch uint32, use func(*mask.Secret) error) error
}

// Bundles makes bundles of grants, and orders for their holders.
type Bundles interface {
	Make(ctx context.Context, c access.Caller, g wallet.Grant) (wallet.Bundle, error)
	Orders(ctx context.Context, ref token.Ref, o payload.Script) ([][]byte, error)
}

// Tokens is what this package needs of the vault.
type Tokens interface {
	Token(ctx context.Context, ref token.Ref) (token.Token, error)
}

// Opener opens what phones sealed to the HSM.
type Opener interface {
	Plain(ctx context.Context, sealed string) ([]byte, error)
}

// Config is what a [Service] is made of; fields without a default are required.
type Config struct {
	Accounts   Accounts
	Devices    Devices
	PINs       PINs
	Bundles    Bundles
	Tokens     Tokens
	Opener     Opener
	Gate       audit.Gate
	KeyVersion byte             // of the slot masters
	Version    func() byte      // the one that issues now; nil: KeyVersion always
	Now        func() time.Time // nil: time.Now
}

// vouched is how long an attestation of a device is good for more than tier B.
const vouched = 24 * time.Hour

// Service brings phones and accounts in step. It is safe for concurrent use.
type Service struct {
	cfg   Config
	dummy *ecdsa.PublicKey // checked when there is no device, so that it costs the same
}

// New checks c and returns a service.
func New(c Config) (*Service, error) {
	if c.Accounts == nil || c.Devices == nil || c.PINs == nil || c.Bundles == nil || c.Tokens == nil || c.Opener == nil || c.Gate.Recorder == nil {
		return nil, errors.New("edge: accounts, devices, PINs, bundles, tokens, opener and gate are all needed")
	}
	if c.Version == nil {
		c.Version = func() byte { return c.KeyVersion }
	}
	if c.KeyVersion&0x0F == 0 {
		return nil, errors.New("edge: a key version whose low nibble is 0 names no slot")
	}
	c.Now, _ = wallet.Defaults(c.Now, nil)
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a stand-in key: %w", err)
	}
	return &Service{c, &k.PublicKey}, nil
}

// Answer is what a sync is answered with.
type Answer struct {
	account.Settlement
	SyncID  string
	Bundle  *wallet.Bundle // nil: no new slots
	Scripts [][]byte       // orders to the phone, each with its MAC
	Tier    enrol.Tier
	At      time.Time // the service's clock
}

// Sync takes what a device signed and answers it. A repeated sync is answered as
// the first one was, with the same bytes of bundle.
//
// Whatever does not hold is [wallet.ErrRefused].
func (s *Service) Sync(ctx context.Context, c access.Caller, device token.DeviceID, jws string) (Answer, error) {
	subject := string(device)
	if !device.Valid() { // whatever it is, it is not put into the record
		subject = "no-device"
	}
	if err := s.cfg.Gate.Check(ctx, c, access.WalletSync, subject); err != nil {
		return Answer{}, err
	}
	said, err := payload.ReadSigned(jws)
	if err != nil {
		return Answer{}, fmt.Errorf("reading a sync: %w", err)
	}
	k, reason, err := s.known(ctx, device, said)
	if err != nil {
		return Answer{}, err
	}
	if reason != "" {
		return Answer{}, s.cfg.Gate.Refuse(ctx, c, access.WalletSync, subject, reason, wallet.ErrRefused)
	}
	if k.reports, err = s.reports(ctx, said.Reports, k.token); err != nil {
		return Answer{}, err
	}
	return s.settle(ctx, c, k)
}

// known is a sync of which is known who said it and about what.
type known struct {
	said    payload.Signed
	device  enrol.Device
	token   token.Token
	terms   enrol.Terms
	reports []account.Report
}

// known looks up all that a sync names, also after something did not hold: the
// reason is the first that did not.
func (s *Service) known(ctx context.Context, id token.DeviceID, said payload.Signed) (k known, reason string, err error) {
	k.said = said
	note := func(why string, bad bool) {
		if bad && reason == "" {
			reason = why
		}
	}
	found := func(why string, err error) (bool, error) {
		kind := fault.KindOf(err)
		if err != nil && kind != fault.Refused && kind != fault.TokenUnknown {
			return false, err
		}
		note(why, err != nil)
		return err == nil, nil
	}
	k.device, err = s.cfg.Devices.Device(ctx, id)
	ok, err := found("unknown-device", err)
	if err != nil {
		return k, "", err
	}
	key := s.dummy
	if ok {
		key = k.device.SignKey
	}
	note("signature", said.Verify(key) != nil)
	note("device-id", said.Device != id)
	w, bound, err := s.cfg.Accounts.Holder(ctx, said.Ref)
	if _, err = found("unbound-token", err); err != nil {
		return k, "", err
	}
	note("foreign-token", w != k.device.Wallet || bound != id)
	epoch, err := s.cfg.PINs.Epoch(ctx, w)
	if _, err = found("no-pin", err); err != nil {
		return k, "", err
	}
	note("pin-epoch", epoch != said.PINEpoch)
	k.token, err = s.cfg.Tokens.Token(ctx, said.Ref)
	if _, err = found("unknown-token", err); err != nil || reason != "" {
		return k, reason, err
	}
	k.device, k.terms, err = s.judge(ctx, k)
	return k, reason, err
}

// judge says what the device may have today. A verdict that the phone brings is its own
// word: it can lower it, and neither raise it nor keep it where it is. One of before its
// attestation says nothing any more, as phones bring it until they are told another. Without an
// attestation that is fresh it gets no more than a device that nobody vouches for.
func (s *Service) judge(ctx context.Context, k known) (d enrol.Device, t enrol.Terms, err error) {
	if d, err = s.cfg.Devices.Now(ctx, k.device); err != nil {
		return d, t, err
	}
	if i := k.said.Integrity; i != nil && i.At >= d.Attestation.At.Unix() {
		floor := map[string]enrol.Tier{"UNTRUSTED": enrol.TierB, "FAILED": enrol.TierC}[i.Verdict]
		if floor != "" {
			if d, err = s.cfg.Devices.Lower(ctx, d.ID, floor, enrol.Integrity); err != nil {
				return d, t, err
			}
		}
	}
	tier := d.Tier
	if tier != enrol.TierC && s.cfg.Now().Sub(d.Attestation.At) > vouched {
		tier = enrol.TierB
	}
	t = s.cfg.Devices.Terms(tier)
	if !t.Covers(k.token.NotBefore, k.token.NotAfter) {
		t.Limit, t.Layout = 0, nil
	}
	return d, t, nil
}

// settle lets the account settle a sync, and makes the bundle that it granted.
func (s *Service) settle(ctx context.Context, c access.Caller, k known) (Answer, error) {
	done, err := s.cfg.Accounts.Sync(ctx, c, account.SyncRequest{
		Wallet: k.device.Wallet, Ref: k.token.Ref, ID: k.said.ID, Digest: k.said.Digest, Clock: time.Unix(k.said.Clock, 0).UTC(),
		Reports: k.reports, PINEpoch: k.said.PINEpoch,
		Terms: account.Terms{Limit: k.terms.Limit, Ceiling: k.terms.Ceiling, Layout: k.terms.Layout, KeyVersion: s.cfg.Version()},
	})
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Settlement: done, SyncID: k.said.ID, Tier: k.device.Tier, At: s.cfg.Now()}
	if g := done.Grant; g != nil && len(g.Slots) > 0 {
		b, err := s.bundle(ctx, c, k, *g)
		if err != nil && !over(err) {
			return Answer{}, err
		}
		if err == nil {
			a.Bundle = &b
		}
	}
	if done.State == account.WalletSuspended || done.State == account.WalletClosed || k.device.Tier == enrol.TierC {
		a.Scripts, err = s.cfg.Bundles.Orders(ctx, k.token.Ref, payload.Script{Verb: payload.Block})
	}
	return a, err
}

// over reports whether a bundle was refused because its token or PIN came to an
// end meanwhile. What was settled stands, and is answered without new slots.
func over(err error) bool {
	switch fault.KindOf(err) {
	case fault.Refused, fault.TokenState, fault.TokenSuspended, fault.TokenExpired:
		return true
	}
	return false
}

// bundle makes the bundle of a grant.
func (s *Service) bundle(ctx context.Context, c access.Caller, k known, g account.Grant) (wallet.Bundle, error) {
	proof, err := k.said.Proof()
	if err != nil {
		return wallet.Bundle{}, err
	}
	return s.cfg.Bundles.Make(ctx, c, wallet.Grant{
		ID: g.BundleID, Ref: g.Ref, Slots: g.Slots, Device: k.device.ID, WrapKey: k.device.WrapKey, ProofKey: proof,
		Risk: credential.Risk(risk[k.device.Tier], k.terms.Offline), PINEpoch: k.said.PINEpoch, Hardware: k.device.Hardware(),
		Lend: func(ctx context.Context, use func(*mask.Secret) error) error {
			return s.cfg.PINs.Lend(ctx, k.device.Wallet, k.said.PINEpoch, use)
		},
	})
}

// risk is how a credential says a tier. Of a phone it never says that it is an element, of
// which readers demand no proof: its slots lie in the phone, wherever its keys do.
var risk = map[enrol.Tier]credential.Tier{enrol.TierSE: credential.TierA, enrol.TierA: credential.TierA,
	enrol.TierB: credential.TierB, enrol.TierC: credential.TierC}
