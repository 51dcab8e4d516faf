// Package city is what simulators play in: a service with a clock of its own,
// readers of every class, and phones that belong to wallets.
package city

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tapvault/tapvault/api/client"
	"github.com/tapvault/tapvault/internal/assembly"
	"github.com/tapvault/tapvault/internal/sim"
	"github.com/tapvault/tapvault/internal/sim/rig"
	"github.com/tapvault/tapvault/token"
	"github.com/tapvault/tapvault/wallet/mask"
)

// Zone is the city's.
var Zone = time.FixedZone("UTC+8", 8*3600)

// elements is the version of the masters that serve key fobs.
const elements = 2

// City is one of them. It is for one simulator at a time.
type City struct {
	Rig      *rig.Rig
	Clock    *rig.Clock
	Issuer   *client.Client
	Wallet   *client.Client
	Terminal *client.Client
	Operator *client.Client

	cards, readers, folders int
	stretch                 mask.Stretch
	closers                 []func() error
}

// New makes a city whose clock stands at at. edit, if it is not nil, changes
// the service's configuration.
func New(ctx context.Context, at time.Time, edit func(*assembly.Config)) (c *City, err error) {
	c = &City{Clock: rig.NewClock(at), stretch: sim.Remember(mask.Argon2id)}
	served := func(a *assembly.Config) {
		a.Slots.ElementKeyVersion = elements
		if edit != nil {
			edit(a)
		}
	}
	if c.Rig, err = rig.New(ctx, rig.Config{Now: c.Clock.Now, Edit: served}); err != nil {
		return nil, err
	}
	for role, to := range map[string]**client.Client{"issuer": &c.Issuer, "wallet": &c.Wallet, "terminal": &c.Terminal, "operator": &c.Operator} {
		if *to, err = c.Rig.Client(role); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Spec says what a holder of the city has; see [sim.Spec]. The card is a new one.
type Spec = sim.Spec

// Phone gives somebody a wallet and a phone.
func (c *City) Phone(ctx context.Context, s Spec) (*sim.Phone, error) {
	s.Card = c.card()
	return c.issuing().Phone(ctx, s)
}

// Crack gives somebody a wallet and a phone whose keys can be copied.
func (c *City) Crack(ctx context.Context, s Spec) (*sim.Cracked, error) {
	s.Card = c.card()
	return c.issuing().Crack(ctx, s)
}

// Fob gives somebody a wallet and a key fob.
func (c *City) Fob(ctx context.Context, s Spec) (*sim.Fob, error) {
	s.Card = c.card()
	return c.issuing().Fob(ctx, s)
}

func (c *City) issuing() sim.Issuing {
	return sim.Issuing{Issuer: c.Issuer, Wallet: c.Wallet, Terminal: c.Terminal, Now: c.Clock.Now, Stretch: c.stretch}
}

// Close ends the city; nothing of it stays.
func (c *City) Close() error {
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i]())
	}
	return errors.Join(append(errs, c.Rig.Close())...)
}

// folder is a new folder that goes with the city.
func (c *City) folder(what string) (string, error) {
	c.folders++
	dir := filepath.Join(c.Rig.Dir, fmt.Sprintf("%s-%d", what, c.folders))
	return dir, os.Mkdir(dir, 0o700)
}

// card is the number of a new card.
func (c *City) card() string {
	c.cards++
	digits := fmt.Sprintf("6212%011d", c.cards)
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			d *= 2
		}
		sum += d/10 + d%10
	}
	return fmt.Sprint(digits, (10-sum%10)%10)
}

// Reconciled is what the ledger owes operators and what fraud cost the scheme,
// by the report on a day. A mismatch in it is an error.
func (c *City) Reconciled(ctx context.Context, day time.Time) (operator, fraud token.Amount, err error) {
	r, err := c.Operator.Recon(ctx, day.In(Zone).Format("2006-01-02"))
	if err != nil {
		return 0, 0, fmt.Errorf("reconciling: %w", err)
	}
	if len(r.Mismatches) > 0 {
		return 0, 0, fmt.Errorf("reconciling: %d things do not agree: %v", len(r.Mismatches), r.Mismatches[0])
	}
	return token.Amount(r.Accounts["OPERATOR_PAYABLE"]), token.Amount(-r.Accounts["FRAUD_LOSS"]), nil
}
