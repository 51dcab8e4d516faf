// Package day plays a day of a city: holders who ride and sync, readers that
// upload and hear the deny list, a service that is down for a while, clocks that
// are wrong, PINs that are forgotten, and phones that are copied.
package day

import (
	"context"
	"errors"
	"fmt"
	"github.com/tapvault/tapvault/internal/sim"
	"math/rand/v2"
	"time"

	"github.com/tapvault/tapvault/internal/sim/city"
	"github.com/tapvault/tapvault/internal/sim/loss"
	"github.com/tapvault/tapvault/internal/sim/plot"
	"github.com/tapvault/tapvault/terminal"
	"github.com/tapvault/tapvault/terminal/deny"
	"github.com/tapvault/tapvault/token"
)

// Config says what kind of day.
type Config struct {
	Seed      uint64
	Wallets   int
	Terminals int
	Vehicles  float64       // share of terminals that upload at the depot
	Merchants float64       // share that ask online first
	Rides     int           // of each wallet, about
	Clones    int           // phones that are copied, PIN and all
	Forgetful int           // holders who enter wrong PINs
	Outage    time.Duration // in which the service is down, in the morning
	Skew      time.Duration // how far clocks are wrong, at most
	Fare      token.Amount  // of clones; riders pay from 1 to 6 yuan
	// Went is told how far the day has come, in minutes of 18 hours; may be nil.
	Went func(minutes int)
}

// Default is a small day.
func Default() Config {
	return Config{Seed: 1, Wallets: 24, Terminals: 10, Vehicles: 0.2, Merchants: 0.1, Rides: 5, Clones: 3, Forgetful: 2,
		Outage: 30 * time.Minute, Skew: 60 * time.Second, Fare: 300}
}

// Validate reports a day that cannot be.
func (c Config) Validate() error {
	switch {
	case c.Wallets < 1 || c.Terminals < 1 || c.Rides < 1:
		return errors.New("day: at least one wallet, one terminal and one ride are needed")
	case c.Clones < 0 || c.Forgetful < 0 || c.Clones+c.Forgetful > c.Wallets:
		return errors.New("day: clones and forgetful holders are among the wallets")
	case c.Vehicles < 0 || c.Merchants < 0 || c.Vehicles+c.Merchants > 1:
		return errors.New("day: shares of terminals are between 0 and 1, together too")
	case c.Outage < 0 || c.Outage > 4*time.Hour || c.Skew < 0 || c.Skew > 10*time.Minute:
		return errors.New("day: an outage lasts up to 4h, and clocks are wrong by up to 10m")
	case c.Fare < 1 || c.Fare > 1000:
		return errors.New("day: a clone's fare is from 1 to 1000 fen")
	}
	return nil
}

// long is how long people ride: from half past five to half past eleven.
const long = 18 * time.Hour

// play is one day under way.
type play struct {
	Config
	city    *city.City
	rand    *rand.Rand
	began   time.Time
	agenda  agenda
	readers []*city.Reader
	holders []*sim.Holder
	clones  []*copied
	down    bool
	r       Report
}

// Play plays a day and says what became of it.
func Play(ctx context.Context, c Config) (r Report, err error) {
	if err := c.Validate(); err != nil {
		return r, err
	}
	began := time.Date(2026, 5, 20, 5, 30, 0, 0, city.Zone)
	t, err := city.New(ctx, began, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	p := &play{Config: c, city: t, rand: rand.New(rand.NewPCG(c.Seed, 18)), began: began}
	p.r = Report{Seed: c.Seed, Wallets: c.Wallets, Terminals: c.Terminals, Refused: map[string]int{}, Outcomes: map[string]int{},
		Syncs: map[string]int{}, Clones: []Clone{}}
	if err := p.prepare(ctx); err != nil {
		return r, err
	}
	if err := p.run(ctx); err != nil {
		return r, err
	}
	return p.r, p.close(ctx)
}

// prepare builds terminals, gives holders their phones, and fills the agenda.
func (p *play) prepare(ctx context.Context) error {
	for i := range p.Terminals {
		if err := p.terminal(ctx, i); err != nil {
			return fmt.Errorf("setting up a terminal: %w", err)
		}
	}
	for i := range p.Wallets {
		var err error
		switch {
		case i < p.Clones:
			err = p.victim(ctx)
		default:
			err = p.rider(ctx, i < p.Clones+p.Forgetful)
		}
		if err != nil {
			return fmt.Errorf("setting up a wallet: %w", err)
		}
	}
	if p.Outage > 0 {
		at := p.began.Add(3*time.Hour + time.Duration(p.rand.IntN(60))*time.Minute)
		p.agenda.plan(at, func(context.Context) error { p.down = true; return p.city.Rig.Stop() })
		p.agenda.plan(at.Add(p.Outage), func(ctx context.Context) error { p.down = false; return p.city.Rig.Start(ctx) })
	}
	return nil
}

// run takes one thing after another from the agenda.
func (p *play) run(ctx context.Context) error {
	for {
		e, ok := p.agenda.next()
		if !ok {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p.city.Clock.To(e.at)
		if p.Went != nil {
			p.Went(min(int(e.at.Sub(p.began).Minutes()), int(long.Minutes())))
		}
		if err := e.do(ctx); err != nil {
			return fmt.Errorf("at %s: %w", e.at.Format("15:04"), err)
		}
	}
}

// off is how wrong somebody's clock is.
func (p *play) off() time.Duration {
	if p.Skew == 0 {
		return 0
	}
	return time.Duration(p.rand.Int64N(int64(2*p.Skew))) - p.Skew
}

// soon is a time of chance with a mean.
func (p *play) soon(mean time.Duration) time.Duration {
	return time.Duration(p.rand.ExpFloat64() * float64(mean))
}

// terminal sets one up, and plans when it talks to the service: gates all day,
// vehicles in the depot.
func (p *play) terminal(ctx context.Context, i int) error {
	class := deny.Gate
	switch share := (float64(i) + 0.5) / float64(p.Terminals); {
	case share < p.Vehicles:
		class = deny.Vehicle
	case share < p.Vehicles+p.Merchants:
		class = deny.Merchant
	}
	r, err := p.city.ReaderWith(ctx, city.ReaderSpec{Class: class, Now: p.city.Clock.Shifted(p.off())})
	if err != nil {
		return err
	}
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	p.readers = append(p.readers, r)
	if class == deny.Vehicle {
		p.agenda.plan(p.began.Add(long+time.Hour), func(ctx context.Context) error { return p.upload(ctx, r) })
		return nil
	}
	const poll = 5 * time.Minute
	for at := time.Duration(p.rand.Int64N(int64(poll))); at < long; at += poll {
		p.agenda.plan(p.began.Add(at), func(ctx context.Context) error { return p.poll(ctx, r) })
	}
	return nil
}

// poll hears the deny list, unless the service is down: then the list ages.
func (p *play) poll(ctx context.Context, r *city.Reader) error {
	if p.down {
		return nil
	}
	if err := r.Refresh(ctx); err != nil {
		return fmt.Errorf("hearing the deny list: %w", err)
	}
	n := r.Denied()
	p.r.Deny = max(p.r.Deny, n)
	p.r.denied = append(p.r.denied, plot.Point{X: hours(p.began, p.city.Clock.Now()), Y: float64(n)})
	return nil
}

// upload hands in what waits. What cannot be handed in now comes with the next.
func (p *play) upload(ctx context.Context, r *city.Reader) error {
	if p.down || r.Pending() == 0 {
		return nil
	}
	receipts, err := r.Upload(ctx)
	if err != nil {
		return fmt.Errorf("uploading: %w", err)
	}
	for _, got := range receipts {
		name := got.Outcome
		if got.Reason != "" {
			name += " " + got.Reason
		}
		p.r.Outcomes[name]++
	}
	return p.look(ctx)
}

// tap is one tap at a reader of chance; an accepted one is uploaded soon.
func (p *play) tap(ctx context.Context, card tapper, fare token.Amount) (accepted bool, err error) {
	r := p.readers[p.rand.IntN(len(p.readers))]
	p.r.Tried++
	_, err = r.Tap(ctx, card, fare)
	if err != nil {
		var why terminal.Refusal
		if !errors.As(err, &why) {
			return false, err
		}
		p.r.Refused[string(why)]++
		return false, nil
	}
	p.r.Accepted++
	p.r.Fares += fare
	if r.Class != deny.Vehicle {
		p.agenda.plan(p.city.Clock.Now().Add(p.soon(time.Minute)), func(ctx context.Context) error { return p.upload(ctx, r) })
	}
	return true, nil
}

// bound is the most that clones could have got, by the formula: each alone until
// it has gone round its slots, with the service down in between.
func (p *play) bound() (sum token.Amount) {
	online := 1 - p.Vehicles
	for range p.clones {
		c := loss.Default(1, online)
		c.Fare, c.Proof = p.Fare, true
		sum += c.Bound(time.Duration(c.Slots)*c.Every + c.Every + p.Outage + 10*time.Minute)
	}
	return sum
}
