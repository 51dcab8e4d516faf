package day

import (
	"context"
	"fmt"
	"github.com/tapvault/tapvault/internal/sim"
	"time"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/internal/sim/plot"
	"github.com/tapvault/tapvault/terminal/apdu"
	"github.com/tapvault/tapvault/token"
)

// tapper is what is held to a reader.
type tapper = apdu.Transmitter

// pin is a PIN of six digits that no list of popular ones has.
func (p *play) pin() string {
	return fmt.Sprintf("%d%d%d%d%d%d", 7, p.rand.IntN(5), 9, 2+p.rand.IntN(4), 0, 6)
}

// rider is a holder who rides at hours of chance and syncs when few slots are
// left. One who is forgetful enters wrong PINs, and asks the service when the
// phone is held back.
func (p *play) rider(ctx context.Context, forgetful bool) error {
	phone, err := p.city.Phone(ctx, city.Spec{PIN: p.pin(), TopUp: token.Amount(10000 + 100*p.rand.IntN(100))})
	if err != nil {
		return err
	}
	phone.Shift(p.off())
	p.holders = append(p.holders, phone.Holder)
	for range 1 + p.rand.IntN(2*p.Rides-1) {
		p.agenda.plan(p.began.Add(p.hour()), func(ctx context.Context) error { return p.ride(ctx, phone, forgetful) })
	}
	return nil
}

// hour is when somebody rides: mostly in the morning or the evening.
func (p *play) hour() time.Duration {
	peak := 2 * time.Hour
	if p.rand.IntN(2) == 0 {
		peak = 12 * time.Hour
	}
	if p.rand.IntN(3) == 0 {
		return time.Duration(p.rand.Int64N(int64(long)))
	}
	return peak + time.Duration(p.rand.Int64N(int64(2*time.Hour)))
}

func (p *play) ride(ctx context.Context, phone *sim.Phone, forgetful bool) error {
	if phone.Live() <= 4 {
		if err := p.sync(ctx, phone); err != nil {
			return err
		}
	}
	pin := phone.PIN
	if forgetful && p.rand.IntN(2) == 0 {
		pin = p.pin()
	}
	if err := phone.EnterPIN(pin); err != nil {
		return err
	}
	_, err := p.tap(ctx, phone, token.Amount(100*(1+p.rand.IntN(6))))
	return err
}

// sync brings a phone in step, unless the service is down.
func (p *play) sync(ctx context.Context, phone *sim.Phone) error {
	if p.down {
		return nil
	}
	s, err := phone.Sync(ctx)
	if err != nil {
		return err
	}
	p.r.Syncs[s.Result]++
	if s.State == "RESTRICTED" {
		_, err = phone.VerifyPIN(ctx, phone.PIN)
	}
	return err
}

// copied is a phone that somebody copied, and what the copy did.
type copied struct {
	from  *sim.Cracked
	clone *sim.Clone
	began time.Time
	first time.Time // its first tap that was taken
	n     int       // which of the report's
}

// victim is a holder whose phone is copied at some hour, with its PIN. The copy
// rides every ten minutes for the rest of the day, and begins again with a fresh
// copy when its slots are used up.
func (p *play) victim(ctx context.Context) error {
	from, err := p.city.Crack(ctx, city.Spec{PIN: p.pin(), Tier: sim.TierB})
	if err != nil {
		return err
	}
	p.holders = append(p.holders, from.Holder)
	at := p.began.Add(time.Hour + time.Duration(p.rand.Int64N(int64(10*time.Hour))))
	c := &copied{from: from, began: at, n: len(p.clones)}
	p.clones = append(p.clones, c)
	p.r.Clones = append(p.r.Clones, Clone{At: hours(p.began, at)})
	for t := at; t.Before(p.began.Add(long)); t = t.Add(10 * time.Minute) {
		p.agenda.plan(t, func(ctx context.Context) error { return p.cheat(ctx, c) })
	}
	return nil
}

func (p *play) cheat(ctx context.Context, c *copied) (err error) {
	if c.clone == nil || c.clone.Live() == 0 {
		if c.clone, err = c.from.Clone(); err != nil {
			return err
		}
	}
	c.clone.EnterPIN(c.from.PIN)
	accepted, err := p.tap(ctx, c.clone, p.Fare)
	if err != nil || !accepted {
		return err
	}
	one := &p.r.Clones[c.n]
	one.Taps++
	one.Loss += p.Fare
	p.r.Loss += p.Fare
	if c.first.IsZero() {
		c.first = p.city.Clock.Now()
	}
	p.r.lost = append(p.r.lost, plot.Point{X: hours(p.began, p.city.Clock.Now()), Y: float64(p.r.Loss) / 100})
	return nil
}

// look sees which copied wallets the service has found by now.
func (p *play) look(ctx context.Context) error {
	for _, c := range p.clones {
		one := &p.r.Clones[c.n]
		if one.Detected != nil || c.first.IsZero() {
			continue
		}
		state, err := c.from.State(ctx)
		if err != nil {
			return err
		}
		if state != "ACTIVE" {
			minutes := p.city.Clock.Now().Sub(c.first).Minutes()
			one.Detected = &minutes
		}
	}
	return nil
}

// close counts the money at the end of the day.
func (p *play) close(ctx context.Context) error {
	for _, r := range p.readers {
		if err := p.upload(ctx, r); err != nil {
			return err
		}
	}
	for _, h := range p.holders {
		b, err := h.Balances(ctx)
		if err != nil {
			return err
		}
		p.r.Ledger.ToppedUp += h.TopUp
		p.r.Ledger.Available += b.Available
		p.r.Ledger.Reserve += b.Reserve
		p.r.Ledger.Due += b.Due
	}
	operator, fraud, err := p.city.Reconciled(ctx, p.began)
	if err != nil {
		return err
	}
	l := &p.r.Ledger
	l.Operator, l.Fraud = operator, fraud
	l.Unbalanced = int64(l.ToppedUp) + int64(l.Fraud) + int64(l.Due) - int64(l.Available) - int64(l.Reserve) - int64(l.Operator)
	p.r.Bound = p.bound()
	p.r.Held = p.r.Loss <= p.r.Bound && l.Unbalanced == 0
	if n := p.r.Deny; n == 0 && p.Clones > 0 {
		p.r.Notes = append(p.r.Notes, "no reader heard of a denied token")
	}
	return nil
}
