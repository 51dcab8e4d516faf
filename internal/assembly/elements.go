package assembly

import (
	"encoding/hex"
	"fmt"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/intake"
	"github.com/tapvault/tapvault/wallet"
	"github.com/tapvault/tapvault/wallet/element"
	"github.com/tapvault/tapvault/wallet/element/elementdb"
	"github.com/tapvault/tapvault/wallet/enrol"
)

// elements serves secure elements, from masters of their own.
func (p *parts) elements(accounts *account.Service, bundles *wallet.Service, sealed *intake.Service) (*element.Service, error) {
	tiers, err := p.cfg.tiers()
	if err != nil {
		return nil, err
	}
	s := p.cfg.Slots
	aid, err := hex.DecodeString(s.AID)
	if err != nil {
		return nil, fmt.Errorf("reading slots.aid: %w", err)
	}
	return element.New(element.Config{Store: elementdb.New(p.db), Keys: p.hsm, Accounts: wallets{accounts, p.book()}, Tokens: p.vault.Writer(),
		Credentials: bundles, Opener: sealed, Gate: p.gate, Terms: tiers[enrol.TierSE], Realm: s.Realm, KeyVersion: s.ElementKeyVersion,
		AlgorithmID: s.AlgorithmID, Issuer: p.cfg.slotIssuer(), AppType: s.AppType, AppVersion: s.AppVersion, AID: aid,
		Zone: p.days.Zone, Now: p.opt.Now})
}

// slotVersions are the versions of the slot masters in use: phones', and that of
// secure elements.
func (c Config) slotVersions() []uint8 {
	if e := c.Slots.ElementKeyVersion; e != 0 {
		return []uint8{c.Slots.KeyVersion, e}
	}
	return []uint8{c.Slots.KeyVersion}
}
