package assembly

import (
	"context"
	"time"

	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/internal/guess"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/wallet/walletdb"
)

// account judges taps and keeps wallets.
func (p *parts) account(lists account.Freshness, guesses *guess.Guard) (*account.Service, error) {
	book := p.book()
	orders, err := p.orders(book)
	if err != nil {
		return nil, err
	}
	s, err := account.New(account.Config{
		Tokens: p.vault.Writer(), Keys: p.hsm, Journal: book, Book: book, PINs: walletdb.NewPINs(p.db), Lists: lists, Estate: p.estate(), Loads: orders, Devices: &p.trust, Guesses: guesses, Gate: p.gate,
		Realm: p.cfg.Slots.Realm, KeyVersions: p.cfg.slotVersions(), Versions: p.keys.slots.versions, AlgorithmID: p.cfg.Slots.AlgorithmID,
		Places: p.cfg.places(), Owners: p.cfg.owners(), Zone: p.days.Zone, Now: p.opt.Now, Sure: p.sure(), Log: p.opt.Log,
	})
	if err != nil {
		return nil, err
	}
	p.gauges = append(p.gauges, obs.Gauge{Name: "taps_deferred_total", Counts: true, Help: "How often this process could not judge an uploaded tap because something that is stored for it cannot be read.",
		Value: func() float64 { return float64(s.Deferred()) }})
	return s, nil
}

// book is where wallets are kept.
func (p *parts) book() *tapdb.DB {
	rules := account.Rules{Skew: 120 * time.Second, Zone: p.days.Zone, Where: p.cfg.points()}
	return tapdb.New(p.db, p.opt.Now).With(p.events, rules).By(p.sure())
}

// sweepSlots does in the background what time brings to slots, and what detection
// has left to do, until stop is called.
func (c *chores) sweepSlots(ctx context.Context, accounts *account.Service, every time.Duration) (stop func() error) {
	return c.repeat(ctx, "slots", "slots could not be swept", every, func(ctx context.Context) error {
		_, err := accounts.Sweep(ctx)
		return err
	})
}
