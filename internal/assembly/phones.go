package assembly

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/hsm/keyref"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/internal/fault"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/credential"
	"github.com/tapvault/tapvault/wallet/edge"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/elementdb"
	"github.com/tapvault/tapvault/wallet/enrol"
	"github.com/tapvault/tapvault/wallet/pin"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// Tier is what devices of one tier are allowed.
type Tier struct {
	// LimitFen is the most that live slots of one token may pay together.
	LimitFen uint32 `yaml:"limit_fen"`
	// CeilingFen is the most that all tokens of a wallet may pay together.
	CeilingFen uint32 `yaml:"ceiling_fen"`
	// Slots are a full bundle, in the order of use.
	Slots []TierSlots `yaml:"slots"`
	// TokenTTL is how long a token may live to be given slots, 1h to 168h.
	TokenTTL time.Duration `yaml:"token_ttl"`
	// Express lets slots of class E, which pay without a PIN, be among them: at
	// most 3 of 500 fen.
	Express bool `yaml:"express"`
	// OfflineTerminals lets terminals that never hear the deny list take them.
	OfflineTerminals bool `yaml:"offline_terminals"`
}

// TierSlots are so many equal slots.
type TierSlots struct {
	// Class is E, S, M or X.
	Class string `yaml:"class"`
	// CapFen is the most one of them pays.
	CapFen uint32 `yaml:"cap_fen"`
	// Count is how many.
	Count int `yaml:"count"`
}

// PIN bounds the work that PINs make.
type PIN struct {
	// Parallel is how many are stretched at once, 64 MiB and a core each. 0: 2.
	Parallel int `yaml:"parallel"`
	// Waiting is how many callers wait for their turn; others are told to come
	// back. 0: 64.
	Waiting int `yaml:"waiting"`
}

var classes = map[string]credential.Class{"E": credential.Express, "S": credential.Small, "M": credential.Medium, "X": credential.Large}

// tiers are the terms of all tiers: those of the file in place of the defaults.
func (c Config) tiers() (enrol.Tiers, error) {
	all := enrol.DefaultTiers()
	for name, t := range c.Tiers {
		terms := enrol.Terms{Limit: token.Amount(t.LimitFen), Ceiling: token.Amount(t.CeilingFen), TTL: t.TokenTTL,
			Express: t.Express, Offline: t.OfflineTerminals}
		for _, s := range t.Slots {
			class, ok := classes[s.Class]
			if !ok || s.Count < 1 || s.Count > 64 {
				return nil, fmt.Errorf("tier %s: a class is E, S, M or X, and a count 1 to 64", name)
			}
			terms.Layout = append(terms.Layout, slices.Repeat([]account.SlotKind{{Class: class, Cap: token.Amount(s.CapFen)}}, s.Count)...)
		}
		all[enrol.Tier(name)] = terms
	}
	return all, all.Validate()
}

// phones are the services of phones whose slots an account pays for.
type phones struct {
	devices *enrol.Service
	pins    *pin.Service
	edge    *edge.Service
	taps    *intake.Service // opens what phones remember of taps
}

func (p *parts) phones(ctx context.Context, accounts *account.Service, bundles *wallet.Service, sealed *intake.Service) (x phones, err error) {
	tiers, err := p.cfg.tiers()
	if err != nil {
		return x, err
	}
	a, pins := wallets{accounts, p.book()}, walletdb.NewPINs(p.db)
	if x.taps, err = p.opener(ctx, keyref.SyncIntake); err != nil {
		return x, err
	}
	x.devices, err = enrol.New(enrol.Config{Store: walletdb.NewDevices(p.db), Wallets: a, Gate: p.gate, Tiers: tiers, Now: p.opt.Now})
	if err != nil {
		return x, err
	}
	p.trust.devices, p.trust.elements = x.devices, elementdb.New(p.db)
	x.pins, err = pin.New(pin.Config{Store: pins, Tries: pins, Accounts: a, Tokens: p.vault.Writer(), Keys: p.hsm, Opener: sealed,
		Gate: p.gate, Parallel: p.cfg.PIN.Parallel, Waiting: p.cfg.PIN.Waiting, Now: p.opt.Now, Sure: p.sure()})
	if err != nil {
		return x, err
	}
	x.edge, err = edge.New(edge.Config{Accounts: a, Devices: x.devices, PINs: x.pins, Bundles: bundles, Tokens: p.vault.Writer(),
		Opener: x.taps, Gate: p.gate, KeyVersion: p.cfg.Slots.KeyVersion, Version: p.keys.slots.issues, Now: p.opt.Now})
	return x, err
}

// lateDevices are devices that are judged by services that need accounts, which
// need them: they are there before the first request and the first signal.
type lateDevices struct {
	devices  *enrol.Service
	elements element.Store
}

// Distrust implements [account.Devices].
func (l *lateDevices) Distrust(ctx context.Context, w token.WalletID, id token.DeviceID) error {
	return l.devices.Distrust(ctx, w, id)
}

// Enrolled implements [account.Devices].
func (l *lateDevices) Enrolled(ctx context.Context, w token.WalletID, id token.DeviceID) (bool, error) {
	d, err := l.devices.Device(ctx, id)
	if err == nil || fault.KindOf(err) != fault.Refused {
		return d.Wallet == w, err
	}
	e, err := l.elements.Element(ctx, id)
	if err == nil || fault.KindOf(err) != fault.Refused {
		return e.Wallet == w, err
	}
	return false, nil
}

// opener opens what was sealed to a key of the HSM.
func (p *parts) opener(ctx context.Context, u keyref.Usage) (*intake.Service, error) {
	ref := keyref.Ref{Usage: u, Version: 1}
	public, err := p.hsm.PublicKey(ctx, ref)
	if err != nil {
		return nil, err
	}
	return intake.New(intake.Key{Public: public,
		Agree: func(ctx context.Context, peer *ecdh.PublicKey, use func([]byte) error) error {
			return p.hsm.ECDH(ctx, ref, peer, use)
		}})
}

// wallets is the account service as phones see it: what it says about wallets
// that are not there, or not theirs, is one refusal.
type wallets struct {
	*account.Service
	book account.Book
}

// Open returns nil when there is such a wallet, c may act for it, and it is not
// closed.
func (w wallets) Open(ctx context.Context, c access.Caller, id token.WalletID) error {
	got, err := w.book.Wallet(ctx, id)
	switch {
	case errors.Is(err, account.ErrNoWallet):
		return wallet.ErrRefused
	case err != nil:
		return err
	case c.Requestor != "" && c.Requestor != string(got.Requestor), got.State == account.WalletClosed:
		return wallet.ErrRefused
	}
	return nil
}

// Tokens lists the tokens that are bound to the wallet.
func (w wallets) Tokens(ctx context.Context, id token.WalletID) (refs []token.Ref, err error) {
	all, err := w.book.Tokens(ctx, id)
	for _, b := range all {
		refs = append(refs, b.Ref)
	}
	return refs, err
}

// Holder says to which wallet and device a token is bound.
func (w wallets) Holder(ctx context.Context, ref token.Ref) (token.WalletID, token.DeviceID, error) {
	bound, err := w.book.Bound(ctx, ref)
	if err != nil {
		return "", "", err
	}
	id := bound[ref]
	if id == "" {
		return "", "", wallet.ErrRefused
	}
	all, err := w.book.Tokens(ctx, id)
	if err != nil {
		return "", "", err
	}
	for _, b := range all {
		if b.Ref == ref {
			return id, b.Device, nil
		}
	}
	return "", "", wallet.ErrRefused
}

// Sync hides what the account says about wallets of others.
func (w wallets) Sync(ctx context.Context, c access.Caller, q account.SyncRequest) (account.Settlement, error) {
	out, err := w.Service.Sync(ctx, c, q)
	if k := fault.KindOf(err); err != nil && (k == fault.WalletUnknown || k == fault.TokenUnknown) {
		err = wallet.ErrRefused
	}
	return out, err
}

// bound says whether a token belongs to a wallet.
func (p *parts) bound(ctx context.Context, ref token.Ref) (bool, error) {
	m, err := p.book().Bound(ctx, ref)
	return m[ref] != "", err
}
