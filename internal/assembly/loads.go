package assembly

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/account"
	"github.com/tapvault/tapvault/account/tapdb"
	"github.com/tapvault/tapvault/cardhost"
	"github.com/tapvault/tapvault/internal/obs"
	"github.com/tapvault/tapvault/load"
	"github.com/tapvault/tapvault/load/loaddb"
	"github.com/tapvault/tapvault/token"
)

// loads moves money between accounts and the cards of cards' realms.
func (p *parts) loads(cards *cardhost.Service) (*load.Service, error) {
	book := p.book()
	kept, err := p.orders(book)
	if err != nil {
		return nil, err
	}
	names, key := p.names()
	host := cards.For(access.CardLoad)
	p.gauges = append(p.gauges, obs.Gauge{Name: "card_loads_waiting", Help: "Orders to cards that waited for somebody's decision when this process last looked.",
		Value: func() float64 { return float64(p.waiting.Load()) }})
	return load.New(load.Config{Orders: host, Proofs: host, Accounts: owners{book}, Names: names,
		NameKey: key, Store: kept, Gate: p.gate, Now: p.opt.Now, Sure: p.sure()})
}

// orders is where orders to cards are kept.
func (p *parts) orders(book *tapdb.DB) (*loaddb.DB, error) {
	return loaddb.New(loaddb.Config{Store: p.db, Events: p.events, Cases: book, Phones: book, Now: p.opt.Now})
}

// sweepLoads has somebody look at orders of which nothing was heard, and counts
// those that wait, until stop is called.
func (c *chores) sweepLoads(ctx context.Context, loads *load.Service, waiting *atomic.Int64, every time.Duration) (stop func() error) {
	return c.repeat(ctx, "loads", "card loads could not be swept", every, func(ctx context.Context) error {
		_, err := loads.Sweep(ctx)
		n, counting := loads.Waiting(ctx)
		if counting == nil {
			waiting.Store(int64(n))
		}
		return errors.Join(err, counting)
	})
}

// owners says whose accounts are, for card loads.
type owners struct {
	wallets interface {
		Wallet(ctx context.Context, id token.WalletID) (account.Wallet, error)
	}
}

// Owner implements [load.Accounts]: money leaves an account for a card only
// while nothing holds it back, and nothing comes to one that is closed.
func (o owners) Owner(ctx context.Context, id token.WalletID) (token.Requestor, bool, error) {
	w, err := o.wallets.Wallet(ctx, id)
	if err == nil && w.State == account.WalletClosed {
		err = account.ErrState
	}
	return w.Requestor, w.State == account.WalletActive, err
}
